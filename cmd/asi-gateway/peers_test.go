package main

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// FuzzNote reads what another gateway may have written, or somebody else: what is no
// note is an error and asks for little memory, and what is one can be summed up and
// written again.
func FuzzNote(f *testing.F) {
	whole, err := note{
		Limits: map[string]v1alpha1.LimitCounters{"a": {Admitted: 1, Rate: resource.MustParse("2")}},
		Groups: map[string]v1alpha1.GroupState{"main": {InFlight: 3}},
		Caches: map[string]v1alpha1.CacheState{"pods": {Encodings: []v1alpha1.CachedEncoding{{Encoding: v1alpha1.EncodingJSON, Objects: 7}}}},
		Flows:  []v1alpha1.Flow{{Requests: 4, BytesPerRequest: 5, PerSecond: resource.MustParse("0.5"), P99: &metav1.Duration{Duration: time.Second}}},
	}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add(binary.AppendUvarint(nil, 1<<32-1))
	f.Add(snappy.Encode(nil, []byte(`{"flows":[{"perSecond":"1E"},{"perSecond":"-1n","requests":-1}]}`)))
	f.Add(snappy.Encode(nil, []byte("null")))
	f.Fuzz(func(t *testing.T, data []byte) {
		n, err := decodeNote(data)
		if err != nil {
			return
		}
		var sum v1alpha1.Flow
		for i := range n.Flows {
			addFlow(&sum, &n.Flows[i])
		}
		again, err := n.encode()
		if err != nil {
			t.Fatalf("%q cannot be written again: %v", data, err)
		}
		same, err := decodeNote(again)
		if err != nil {
			t.Fatalf("%q cannot be read again: %v", data, err)
		}
		if last, err := same.encode(); err != nil || !bytes.Equal(last, again) {
			t.Errorf("%q is another note when it is read again: %v", data, err)
		}
	})
}

func TestNoteThatAsksForGigabytesIsNotRead(t *testing.T) {
	data := binary.AppendUvarint(nil, maxNoteBytes+1)
	if _, err := decodeNote(append(data, 0, 0)); err == nil {
		t.Error("it was read")
	}
}

func TestStatesOfACachedResourceHaveTheReplicasName(t *testing.T) {
	p, _ := newTestPolicies(t, &fixedRouter{})
	states, err := p.Caches(t.Context(), "pods")
	if err != nil || len(states) != 1 || states[0].Name != "a" || states[0].Reason != "is being tested" {
		t.Errorf("%+v, %v", states, err)
	}
}
