package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/asi-gateway/asi-gateway/pkg/routing"
)

func TestUnreachableTellsWhatToDo(t *testing.T) {
	for _, test := range []struct {
		name      string
		err       error
		says, not []string
	}{
		{"nobody is there", routing.ErrUnreachable, []string{"no kube-apiserver can be reached", "try again"}, []string{"operator"}},
		{"nobody of a Route, nor else", &routing.Unreachable{By: "route/others", Groups: []string{"bypass"}}, []string{"route/others", "bypass", "try again"}, []string{"operator"}},
		{"others than a Route's", &routing.Unreachable{By: "route/others", Groups: []string{"bypass"}, Idle: []string{"main"}}, []string{"route/others", "bypass", "try again", "main", "spill"}, []string{"Switch"}},
		{"others than a Switch's", &routing.Unreachable{By: "switch/x", Groups: []string{"bypass"}, Idle: []string{"canary", "main"}}, []string{"switch/x", "canary or main", "turning the Switch off"}, []string{"spill"}},
	} {
		got := errUnreachable(fmt.Errorf("%w (before: lost)", test.err)).ErrStatus
		for _, words := range test.says {
			if !strings.Contains(got.Message, words) {
				t.Errorf("%s: %q is not in %q", test.name, words, got.Message)
			}
		}
		for _, words := range test.not {
			if strings.Contains(got.Message, words) {
				t.Errorf("%s: %q is in %q", test.name, words, got.Message)
			}
		}
		if got.Code != 503 || got.Details == nil || got.Details.RetryAfterSeconds == 0 || !strings.Contains(got.Message, "nothing was sent") {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}

func TestAuditIDsAreRandomUUIDs(t *testing.T) {
	first, second := newAuditID(), newAuditID()
	id, err := uuid.Parse(first)
	if err != nil || id.Version() != 4 || id.Variant() != uuid.RFC4122 || first == second {
		t.Errorf("%s, then %s: %v", first, second, err)
	}
}
