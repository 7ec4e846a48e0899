package cache

import (
	"fmt"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const blueWidget = "/apis/example.com/v1/namespaces/a/widgets/blue"

// strict sends a read and lets the clock run until it is decided.
func (c *running) strict(t *testing.T, target string, change ...func(*request.Attributes)) (answered bool, reason Reason) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		var answer *Answer
		answer, reason = c.ask(t, target, change...)
		answered = answer != nil
	}()
	giveUp(t, c.clock, done)
	return answered, reason
}

// withQuietWidgets is a Cache that has widgets, in a cluster where others are written.
func withQuietWidgets(t *testing.T) *running {
	t.Helper()
	u := withWidgets(v1Plain)
	c := runCache(t, u)
	c.Update([]*v1alpha1.CachedResource{cachedResource("example.com", "v1", "widgets")})
	eventually(t, "widgets are there", func() bool {
		answer, _ := c.ask(t, blueWidget+"?resourceVersion=0")
		return answer != nil
	})
	u.elsewhere(fakeWidgets)
	return c
}

// TestNobodyIsAskedWhetherWhatIsForwardedMayBeRead: that would cost the apiserver as
// much as the request itself.
func TestNobodyIsAskedWhetherWhatIsForwardedMayBeRead(t *testing.T) {
	c := withQuietWidgets(t)
	for range despair {
		if answered, reason := c.strict(t, blueWidget); answered || reason != Strict {
			t.Fatalf("answered %t, %s", answered, reason)
		}
	}
	before := c.judge.asked.Load()
	for i := range sample - 1 {
		if answered, reason := c.strict(t, fmt.Sprintf("%s-%d", blueWidget, i)); answered || reason != Strict {
			t.Fatalf("answered %t, %s", answered, reason)
		}
	}
	if asked := c.judge.asked.Load() - before; asked != 0 {
		t.Errorf("the apiserver was asked for %d permissions", asked)
	}
	// One in many finds out whether probes help again, and has to be allowed to.
	c.strict(t, blueWidget+"-probing")
	if asked := c.judge.asked.Load() - before; asked != 1 {
		t.Errorf("the apiserver was asked for %d permissions, want 1", asked)
	}
}

// TestNothingIsReadForWhoMayNotSeeIt: each encoding is read, and held, from when it is
// first asked for.
func TestNothingIsReadForWhoMayNotSeeIt(t *testing.T) {
	const path, all = "/api/v1/configmaps", "/api/v1/configmaps?resourceVersion=0"
	u := newFakeUpstream()
	u.serve(path, "v1", "ConfigMap", false)
	c := runCache(t, u)
	c.judge.verdict = refuse
	c.Update([]*v1alpha1.CachedResource{cachedResource("", "v1", "configmaps")})
	streams := func() int { return len(c.Resources()) }
	c.says(t, all, string(Denied))
	before := streams()
	if got := c.read(t, all); got != string(Denied) || streams() != before {
		t.Errorf("%s, and %d streams instead of %d", got, streams(), before)
	}
	c.judge.verdict = allow
	// A refusal is remembered for a moment.
	c.clock.Step(doubtFor)
	if got := c.read(t, all); got != string(Loading) || streams() != before+1 {
		t.Errorf("%s, and %d streams instead of %d", got, streams(), before+1)
	}
}

// scarce is what limits have granted one of many.
type scarce struct{}

func (scarce) Refund()      {}
func (scarce) Opened()      {}
func (scarce) Scarce() bool { return true }

// TestWhoAsksMoreThanItMayIsServedByASharedProof: that takes a second, and costs the
// apiserver the same for all.
func TestWhoAsksMoreThanItMayIsServedByASharedProof(t *testing.T) {
	c := withQuietWidgets(t)
	rogue := func(a *request.Attributes) { a.Admission = scarce{} }
	c.upstream.mu.Lock()
	c.upstream.passes = true
	c.upstream.mu.Unlock()
	if answered, reason := c.strict(t, blueWidget); answered || reason != Strict {
		t.Errorf("who does not: answered %t, %s", answered, reason)
	}
	for _, target := range []string{blueWidget, "/apis/example.com/v1/widgets?labelSelector=a%3Db"} {
		c.upstream.elsewhere(fakeWidgets)
		if answered, reason := c.strict(t, target, rogue); !answered {
			t.Errorf("%s: %s", target, reason)
		}
	}
}
