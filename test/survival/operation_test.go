package survival

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// outcome is what a client knows of a write of its own.
type outcome int

const (
	// untried is a write that was not begun.
	untried outcome = iota
	// acknowledged writes have been applied.
	acknowledged
	// refused writes have not been: each time it was sent, the answer was that it may
	// be sent again.
	refused
	// denied writes have not been applied either, and have no hope to be.
	denied
	// ambiguous writes may have been applied or not.
	ambiguous
)

// sendings is how often client-go has sent one write, and what came of it.
type sendings struct{ count, refusals int }

type sendingsKey struct{}

// witness notes in a request's context what its sendings came to.
type witness struct{ http.RoundTripper }

func (w witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.RoundTripper.RoundTrip(r)
	if s, ok := r.Context().Value(sendingsKey{}).(*sendings); ok {
		s.count++
		if err == nil && response.StatusCode >= 429 && response.Header.Get("Retry-After") != "" {
			s.refusals++
		}
	}
	return response, err
}

// attempt makes a write by client-go, with its own resending, and tells what came of
// it.
func attempt(ctx context.Context, write func(context.Context) error) (outcome, *sendings, error) {
	s := &sendings{}
	err := write(context.WithValue(ctx, sendingsKey{}, s))
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return acknowledged, s, nil
	case s.count > 0 && s.refusals == s.count:
		return refused, s, err
	case errors.As(err, &status) && status.Status().Code >= 400 && status.Status().Code < 500:
		return denied, s, err
	default:
		return ambiguous, s, err
	}
}

// operation is the life of one object: it is created, and if that was acknowledged
// changed, and then maybe deleted. Nobody else touches the object.
type operation struct {
	id                      string
	create, change, deleted outcome
}

// version is what an object's label says about its writes.
const (
	asCreated = "1"
	asChanged = "2"
)

// judge compares what clients know with what there is: for each operation, the
// versions of all objects that carry its id.
func judge(operations []operation, found map[string][]string) []string {
	var wrong []string
	known := map[string]bool{}
	for _, o := range operations {
		known[o.id] = true
		if fault := o.judge(found[o.id]); fault != "" {
			wrong = append(wrong, fmt.Sprintf("operation %s %s; its objects are %v", o.id, fault, found[o.id]))
		}
	}
	for id := range found {
		if !known[id] {
			wrong = append(wrong, fmt.Sprintf("nobody has made operation %s", id))
		}
	}
	return wrong
}

// judge returns what is wrong, "" if nothing is.
func (o operation) judge(versions []string) string {
	switch {
	case len(versions) > 1:
		return fmt.Sprintf("was applied %d times", len(versions))
	case (o.create == refused || o.create == denied) && len(versions) > 0:
		return "was applied, though its client was told that it was not"
	case o.create != acknowledged:
		return ""
	case o.change == denied || o.deleted == denied:
		// The object is its client's alone: a change of it has been sent before.
		return "found its object changed by somebody"
	case o.deleted == acknowledged && len(versions) > 0:
		return "was deleted and is there"
	case o.deleted == acknowledged || (o.deleted == ambiguous && len(versions) == 0):
		return ""
	case len(versions) == 0:
		return "was acknowledged and is not there"
	case o.change == acknowledged && versions[0] != asChanged:
		return "has lost a change"
	case (o.change == refused || o.change == untried) && versions[0] != asCreated:
		return "was changed, though its client was told that it was not"
	}
	return ""
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		name      string
		operation operation
		versions  []string
		fine      bool
	}{
		{"created", operation{create: acknowledged}, []string{asCreated}, true},
		{"created twice", operation{create: acknowledged}, []string{asCreated, asCreated}, false},
		{"perhaps created, and was", operation{create: ambiguous}, []string{asCreated}, true},
		{"perhaps created, and was not", operation{create: ambiguous}, nil, true},
		{"perhaps created twice", operation{create: ambiguous}, []string{asCreated, asCreated}, false},
		{"acknowledged and lost", operation{create: acknowledged}, nil, false},
		{"refused", operation{create: refused}, nil, true},
		{"refused and created", operation{create: refused}, []string{asCreated}, false},
		{"denied and created", operation{create: denied}, []string{asCreated}, false},
		{"changed", operation{create: acknowledged, change: acknowledged}, []string{asChanged}, true},
		{"change lost", operation{create: acknowledged, change: acknowledged}, []string{asCreated}, false},
		{"change refused and made", operation{create: acknowledged, change: refused}, []string{asChanged}, false},
		{"perhaps changed, and was", operation{create: acknowledged, change: ambiguous}, []string{asChanged}, true},
		{"perhaps changed, and was not", operation{create: acknowledged, change: ambiguous}, []string{asCreated}, true},
		{"change sent twice: a conflict", operation{create: acknowledged, change: denied}, []string{asChanged}, false},
		{"deleted", operation{create: acknowledged, change: acknowledged, deleted: acknowledged}, nil, true},
		{"deleted and there", operation{create: acknowledged, change: acknowledged, deleted: acknowledged}, []string{asChanged}, false},
		{"deletion sent twice: not found", operation{create: acknowledged, change: acknowledged, deleted: denied}, nil, false},
		{"deletion refused and made", operation{create: acknowledged, change: acknowledged, deleted: refused}, nil, false},
		{"perhaps deleted, and was", operation{create: acknowledged, change: acknowledged, deleted: ambiguous}, nil, true},
		{"perhaps deleted, and was not", operation{create: acknowledged, change: acknowledged, deleted: ambiguous}, []string{asChanged}, true},
	} {
		test.operation.id = "x"
		wrong := judge([]operation{test.operation}, map[string][]string{"x": test.versions})
		if (len(wrong) == 0) != test.fine {
			t.Errorf("%s: %v", test.name, wrong)
		}
	}
	if wrong := judge(nil, map[string][]string{"y": {asCreated}}); len(wrong) != 1 {
		t.Errorf("an object of nobody: %v", wrong)
	}
}
