package cache

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// TestOnlyChangesOfRolesTakePermissionsBack: what is read again after an outage and
// has not changed takes nothing back, for by then nobody may be there to be asked.
func TestOnlyChangesOfRolesTakePermissionsBack(t *testing.T) {
	x, err := newAccess(&judge{verdict: allow}, time.Minute, clocktesting.NewFakeClock(time.Unix(1_000_000, 0)), func() bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	s := &revocationSink{of: newRevocations(&Cache{access: x})}
	role := func(name string, rv uint64) *wire.Meta {
		return &wire.Meta{Name: name, Namespace: "a", ResourceVersion: rv}
	}
	whole := func(roles ...*wire.Meta) {
		s.Begin()
		for _, r := range roles {
			s.Add(nil, r)
		}
		if err := s.Complete(100); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		name   string
		do     func()
		revoke bool
	}{
		{"the first whole", func() { whole(role("x", 1), role("y", 2)) }, true},
		{"the same again", func() { whole(role("x", 1), role("y", 2)) }, false},
		{"a change", func() { _ = s.Apply(wire.Modified, nil, role("x", 3)) }, true},
		{"a whole with the change", func() { whole(role("x", 3), role("y", 2)) }, false},
		{"a whole with another", func() { whole(role("x", 3), role("y", 4)) }, true},
		{"a whole without one", func() { whole(role("x", 3)) }, true},
		{"a whole with one more", func() { whole(role("x", 3), role("z", 5)) }, true},
		{"a deletion", func() { _ = s.Apply(wire.Deleted, nil, role("x", 6)) }, true},
		{"a whole after it", func() { whole(role("z", 5)) }, false},
		{"one that could not be trusted", func() { s.Abandon(nil); whole(role("z", 5)) }, true},
	} {
		before := x.generation.Load()
		step.do()
		if revoked := x.generation.Load() != before; revoked != step.revoke {
			t.Errorf("%s takes permissions back: %t", step.name, revoked)
		}
	}
}
