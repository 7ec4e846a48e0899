package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

var nodeResource = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

func node(i int) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%d", i)},
	}
}

// TestNodesAreCountedByAWatch has nodes come, change and go, and ends with a
// counter that has only what the first one kept.
func TestNodesAreCountedByAWatch(t *testing.T) {
	scheme := fake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	var first []runtime.Object
	for i := range 3 {
		first = append(first, node(i))
	}
	client := fake.NewSimpleMetadataClient(scheme, first...)
	// The fake knows no watch that begins with a list, and does not say so.
	watching := make(chan struct{}, 1)
	client.PrependWatchReactor("nodes", func(action clienttesting.Action) (bool, watch.Interface, error) {
		if options := action.(clienttesting.WatchActionImpl).ListOptions; options.SendInitialEvents != nil {
			return true, nil, apierrors.NewInvalid(schema.GroupKind{}, "", nil)
		}
		w, err := client.Tracker().Watch(nodeResource, "")
		watching <- struct{}{}
		return true, w, err
	})
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	file := filepath.Join(t.TempDir(), "nodes")
	n := NewNodeCounter(client, file, 7, clock, zap.NewNop())
	var changes atomic.Int32
	n.changed = func() { changes.Add(1) }
	if n.Count() != 7 {
		t.Errorf("%d nodes before they are counted, want the configured 7", n.Count())
	}
	background(t, func(ctx context.Context) error { n.Run(ctx); return nil })
	// settled lets the time pass in which nodes are waited for, as often as it takes:
	// how many of them one look sees depends on who is faster.
	settled := func(want int) {
		t.Helper()
		waitFor(t, func() bool {
			if clock.HasWaiters() {
				clock.Step(settle)
			}
			kept, err := os.ReadFile(file)
			return n.Count() == want && err == nil && string(kept) == fmt.Sprintln(want)
		})
	}
	settled(3)
	<-watching
	nodes := client.Resource(nodeResource).(fake.MetadataClient)
	for i := range 40 {
		if _, err := nodes.CreateFake(node(100+i), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	// A node that changes stays one.
	if _, err := nodes.UpdateFake(node(0), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	settled(43)
	if err := nodes.Delete(t.Context(), "node-100", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	settled(42)

	if changes.Load() < 2 {
		t.Errorf("only %d changes were told", changes.Load())
	}
	later := NewNodeCounter(nil, file, 7, clock, zap.NewNop())
	if later.Count() != 42 {
		t.Errorf("%d nodes after a restart, want the last count of 42", later.Count())
	}
}

// FuzzNodesFile reads what may be left of the file: what is no number must not
// scale limits.
func FuzzNodesFile(f *testing.F) {
	for _, seed := range []string{"42\n", "", "-1", "1e9", "0x10", "99999999999999999999", " 7 "} {
		f.Add(seed)
	}
	file := filepath.Join(f.TempDir(), "nodes")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		count := NewNodeCounter(nil, file, 7, clocktesting.NewFakeClock(time.Unix(0, 0)), zap.NewNop()).Count()
		if want, err := strconv.Atoi(strings.TrimSpace(text)); err == nil && want >= 0 {
			if count != want {
				t.Errorf("%q is %d, want %d", text, count, want)
			}
		} else if count != 7 {
			t.Errorf("%q is %d, want what is configured", text, count)
		}
	})
}
