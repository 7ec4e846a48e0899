package differential

import (
	"context"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// revokedWithin bounds how long a revoked token may still be good: the
// kube-apiserver and the gateway behind it keep an answer for 10 s each.
const revokedWithin = 40 * time.Second

// testRevocation uses tokens, takes away what they are bound to, and waits until
// every way in refuses them.
func testRevocation(t *testing.T, b *bench) {
	const accounts = "/api/v1/namespaces/diff-shared/serviceaccounts"
	for name, token := range map[string]struct {
		make []step
		spec string
		end  step
	}{
		"pod": {
			make: []step{post("/api/v1/namespaces/diff-shared/pods", `{"metadata":{"name":"revoked-pod"},"spec":{"serviceAccountName":"revoked-pod","containers":[{"name":"main","image":"image:1"}]}}`)},
			spec: `{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"revoked-pod"}}`,
			end:  del("/api/v1/namespaces/diff-shared/pods/revoked-pod?gracePeriodSeconds=0"),
		},
		"secret": {
			make: []step{post("/api/v1/namespaces/diff-shared/secrets", `{"metadata":{"name":"revoked-secret"}}`)},
			spec: `{"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"revoked-secret"}}`,
			end:  del("/api/v1/namespaces/diff-shared/secrets/revoked-secret"),
		},
		"account": {spec: `{}`, end: del(accounts + "/revoked-account")},
	} {
		t.Run("token of a deleted "+name, func(t *testing.T) {
			t.Parallel()
			admin := seeder{t.Context(), b}
			account := accounts + "/revoked-" + name
			for _, st := range append([]step{post(accounts, `{"metadata":{"name":"revoked-`+name+`"}}`)}, token.make...) {
				if _, err := admin.do(st); err != nil {
					t.Fatal(err)
				}
			}
			issued, err := admin.do(post(account+"/token", `{"spec":`+token.spec+`}`))
			if err != nil {
				t.Fatal(err)
			}
			bearer, err := issued.value("/status/token")
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range b.sides() {
				if status := s.statusFor(t, bearer); status != http.StatusCreated {
					t.Errorf("%s: status %d for a good token", s.name, status)
				}
			}
			if _, err := admin.do(token.end); err != nil {
				t.Fatal(err)
			}
			for _, s := range b.sides() {
				err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, revokedWithin, true, func(context.Context) (bool, error) {
					return s.statusFor(t, bearer) == http.StatusUnauthorized, nil
				})
				if err != nil {
					t.Errorf("%s: the token is still good after %s", s.name, revokedWithin)
				}
			}
		})
	}
}

func (s *side) statusFor(t *testing.T, token string) int {
	answers, err := s.play(t.Context(), c("revocation", whoAmI(forToken+token).by("nobody")))
	if err != nil {
		t.Fatal(err)
	}
	return answers[0].status
}
