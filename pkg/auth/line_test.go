package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// TestFloodOfTokensKeepsOneLineBusy has more tokens that nobody knows under review than
// there is place for, and nobody judges them.
func TestFloodOfTokensKeepsOneLineBusy(t *testing.T) {
	spared := &request.Attributes{Vital: true}
	limited := &request.Attributes{}
	for name, flood := range map[string]*request.Attributes{"limited requests": limited, "spared requests": spared} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reviewer{users: map[string]string{"revoked": "rose", "held": "hans", "new": "nina"}}
				release := make(chan struct{})
				clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
				tokens, err := NewTokens(func(ctx context.Context, token string) (user.Info, error) {
					if strings.HasPrefix(token, "flood") {
						<-release
					}
					return r.review(ctx, token)
				}, FrontProxy, TokenOptions{
					TTL: 10 * time.Second, OutageTTL: 10 * time.Minute, MaxTokens: 100, ReviewTimeout: time.Hour,
					Spared: func(a *request.Attributes) bool { return a.Vital },
				}, clock)
				if err != nil {
					t.Fatal(err)
				}
				expect(t, tokens, "revoked", "rose", nil)
				expect(t, tokens, "held", "hans", nil)
				r.set(func() { delete(r.users, "revoked") })
				clock.Step(11 * time.Second)

				const crowd = 2000
				busy := make(chan error, crowd)
				for i := range crowd {
					go func() {
						_, _, err := tokens.AuthenticateToken(request.WithAttributes(t.Context(), flood), fmt.Sprint("flood", i))
						busy <- err
					}()
				}
				synctest.Wait()
				if n := len(busy); n < crowd/2-200 || n == crowd {
					t.Fatalf("%d of %d are told to come again", n, crowd)
				}
				if err := <-busy; !errors.Is(err, ErrBusy) || !errors.Is(err, ErrUnavailable) {
					t.Errorf("one too many: %v", err)
				}
				// The flood is no outage: an old answer does not hold for it.
				expect(t, tokens, "revoked", "", nil)
				expect(t, tokens, "held", "hans", nil)
				other := limited
				if flood == limited {
					other = spared
				}
				if _, ok, err := tokens.AuthenticateToken(request.WithAttributes(t.Context(), other), "new"); !ok || err != nil {
					t.Errorf("a new token of the others: %t, %v", ok, err)
				}
				// Who waits in the flood's line with the same token has not to be waited for.
				same := make(chan bool, 1)
				go func() {
					_, ok, _ := tokens.AuthenticateToken(request.WithAttributes(t.Context(), flood), "both")
					same <- ok
				}()
				synctest.Wait()
				r.set(func() { r.users["both"] = "bea" })
				if _, ok, err := tokens.AuthenticateToken(request.WithAttributes(t.Context(), other), "both"); !ok || err != nil {
					t.Errorf("a token of both lines: %t, %v", ok, err)
				}
				close(release)
				<-same
			})
		})
	}
}
