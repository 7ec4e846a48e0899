package cache

import (
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func TestReadyOnceWhatIsToBeCachedIsThere(t *testing.T) {
	const pods = "/api/v1/pods"
	cached := []*v1alpha1.CachedResource{cachedResource("", "v1", "pods")}
	serving := func(slow bool) *running {
		u := newFakeUpstream()
		u.serve(pods, "v1", "Pod", false)
		u.slow = slow
		c := runCache(t, u)
		c.Update(cached)
		if err := c.Ready(); err == nil {
			t.Error("ready before anything was read")
		}
		return c
	}
	isReady := func(c *running) func() bool { return func() bool { return c.Ready() == nil } }

	quick := serving(false)
	eventually(t, "it is ready", isReady(quick))
	quick.Update(append(cached, cachedResource("", "v1", "secrets")))
	if err := quick.Ready(); err != nil {
		t.Errorf("it serves, and is taken away: %v", err)
	}

	slow := serving(true)
	eventually(t, "it is being read", func() bool { return slow.upstream.watching(pods) > 0 })
	if err := slow.Ready(); err == nil {
		t.Error("ready while it is being read")
	}
	slow.clock.Step(startFor)
	eventually(t, "it is not waited for without end", isReady(slow))

	custom := runCache(t, withWidgets(v1Plain))
	custom.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	eventually(t, "a custom resource is ready", isReady(custom))
	if n := len(custom.Resources()); n != 1 {
		t.Errorf("ready with %d resources", n)
	}

	failing := runCache(t, newFakeUpstream())
	failing.Update(cached)
	eventually(t, "what cannot be read is not waited for", isReady(failing))
}
