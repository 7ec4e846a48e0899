package auth

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func TestHeadersOfFrontProxiesAreStripped(t *testing.T) {
	p, err := NewFrontProxies(fake.NewClientset(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"},
		Data: map[string]string{
			"requestheader-username-headers":     `["X-Remote-User","X-Cluster-User"]`,
			"requestheader-group-headers":        `["X-Cluster-Group"]`,
			"requestheader-extra-headers-prefix": `["X-Cluster-Extra-"]`,
			"requestheader-allowed-names":        `["front-proxy"]`,
		},
	}))
	if err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		h := http.Header{}
		for _, name := range []string{"Accept", "X-Of-A-Service", "X-Remote-User", "X-Cluster-User", "X-Cluster-Group", "X-Cluster-Extra-Scopes", "Impersonate-User", "Sec-Websocket-Key"} {
			h.Set(name, "x")
		}
		p.Strip(h)
		return slices.Sorted(maps.Keys(h))
	}
	if got, want := left(), []string{"Accept", "Impersonate-User", "Sec-Websocket-Key"}; !slices.Equal(got, want) {
		t.Errorf("before they are known: %v, want %v", got, want)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	want := []string{"Accept", "Impersonate-User", "Sec-Websocket-Key", "X-Of-A-Service"}
	deadline := time.After(20 * time.Second)
	for !slices.Equal(left(), want) {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			t.Fatalf("%v are left, want %v", left(), want)
		}
	}
}
