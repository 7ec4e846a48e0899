package auth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"
)

var errOutage = errors.New("connection refused")

// reviewer is an apiserver's TokenReview with a switch for outages.
type reviewer struct {
	mu     sync.Mutex
	users  map[string]string
	outage bool
	calls  int
}

func (r *reviewer) review(_ context.Context, token string) (user.Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	if r.outage {
		return nil, errOutage
	}
	if name, ok := r.users[token]; ok {
		return &user.DefaultInfo{Name: name}, nil
	}
	return nil, nil
}

func (r *reviewer) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func newTestTokens(t testing.TB, r *reviewer, clock *clocktesting.FakeClock) *Tokens {
	t.Helper()
	tokens, err := NewTokens(r.review, FrontProxy, TokenOptions{
		TTL: 10 * time.Second, OutageTTL: 10 * time.Minute, MaxTokens: 100, ReviewTimeout: 5 * time.Second,
	}, clock)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// expect checks what a token is judged to be: a user name, "" for refused, or
// an error.
func expect(t *testing.T, tokens *Tokens, token, wantUser string, wantErr error) {
	t.Helper()
	response, ok, err := tokens.AuthenticateToken(t.Context(), token)
	if !errors.Is(err, wantErr) {
		t.Fatalf("token %q: error %v, want %v", token, err, wantErr)
	}
	got := ""
	if ok {
		got = response.User.GetName()
	}
	if got != wantUser {
		t.Fatalf("token %q: user %q, want %q", token, got, wantUser)
	}
}

func jwt(expires time.Time) string {
	payload := fmt.Sprintf(`{"exp":%d}`, expires.Unix())
	return "h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s"
}

func TestTokenIsReviewedOncePerTTL(t *testing.T) {
	r := &reviewer{users: map[string]string{"a": "alice"}}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	tokens := newTestTokens(t, r, clock)
	for range 3 {
		expect(t, tokens, "a", "alice", nil)
	}
	if r.calls != 1 {
		t.Errorf("%d reviews within the TTL, want 1", r.calls)
	}
	clock.Step(10 * time.Second)
	expect(t, tokens, "a", "alice", nil)
	if r.calls != 2 {
		t.Errorf("%d reviews after the TTL, want 2", r.calls)
	}
}

func TestRevokedTokenIsRefusedAfterTTL(t *testing.T) {
	r := &reviewer{users: map[string]string{"a": "alice"}}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	tokens := newTestTokens(t, r, clock)
	expect(t, tokens, "a", "alice", nil)
	r.set(func() { delete(r.users, "a") })
	clock.Step(10 * time.Second)
	expect(t, tokens, "a", "", nil)
	// The outage that follows must not bring the revoked token back.
	r.set(func() { r.outage = true })
	clock.Step(badTTL)
	expect(t, tokens, "a", "", ErrUnavailable)
}

func TestRefusedTokenIsNotReviewedAgainAtOnce(t *testing.T) {
	r := &reviewer{users: map[string]string{}}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	tokens := newTestTokens(t, r, clock)
	expect(t, tokens, "x", "", nil)
	expect(t, tokens, "x", "", nil)
	if r.calls != 1 {
		t.Errorf("%d reviews, want 1", r.calls)
	}
	// It may have become good meanwhile.
	r.set(func() { r.users["x"] = "xenia" })
	clock.Step(badTTL)
	expect(t, tokens, "x", "xenia", nil)
}

func TestPositiveAnswerHoldsDuringOutage(t *testing.T) {
	r := &reviewer{users: map[string]string{"a": "alice"}}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	tokens := newTestTokens(t, r, clock)
	expect(t, tokens, "a", "alice", nil)
	r.set(func() { r.outage = true })
	clock.Step(11 * time.Second)
	expect(t, tokens, "a", "alice", nil)
	calls := r.calls
	expect(t, tokens, "a", "alice", nil)
	if r.calls != calls {
		t.Error("a review was tried again within a second of a failed one")
	}
	expect(t, tokens, "never seen", "", ErrUnavailable)
	clock.Step(10 * time.Minute)
	expect(t, tokens, "a", "", ErrUnavailable)
}

func TestOutageDoesNotOutliveTheTokensExpiry(t *testing.T) {
	start := time.Unix(1000, 0)
	token := jwt(start.Add(30 * time.Second))
	r := &reviewer{users: map[string]string{token: "alice"}}
	clock := clocktesting.NewFakeClock(start)
	tokens := newTestTokens(t, r, clock)
	expect(t, tokens, token, "alice", nil)
	r.set(func() { r.outage = true })
	clock.Step(29 * time.Second)
	expect(t, tokens, token, "alice", nil)
	clock.Step(time.Second)
	expect(t, tokens, token, "", ErrUnavailable)
}

func TestFloodOfBadTokensKeepsGoodOnes(t *testing.T) {
	r := &reviewer{users: map[string]string{"a": "alice"}}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	tokens := newTestTokens(t, r, clock)
	expect(t, tokens, "a", "alice", nil)
	for i := range 1000 {
		expect(t, tokens, fmt.Sprint("bad", i), "", nil)
	}
	calls := r.calls
	expect(t, tokens, "a", "alice", nil)
	if r.calls != calls {
		t.Error("the flood pushed a good token out of the cache")
	}
	if n := tokens.bad.Len(); n > 100 {
		t.Errorf("%d bad tokens remembered, want at most 100", n)
	}
}

func TestConcurrentRequestsShareOneReview(t *testing.T) {
	const clients = 50
	release, entered := make(chan struct{}), make(chan struct{}, clients)
	var calls atomic.Int64
	tokens, err := NewTokens(func(context.Context, string) (user.Info, error) {
		calls.Add(1)
		entered <- struct{}{}
		<-release
		return &user.DefaultInfo{Name: "alice"}, nil
	}, FrontProxy, TokenOptions{TTL: time.Minute, MaxTokens: 10, ReviewTimeout: time.Minute}, clocktesting.NewFakeClock(time.Unix(1000, 0)))
	if err != nil {
		t.Fatal(err)
	}
	// A client that gives up must not take the others' review with it.
	leaving, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, _, err := tokens.AuthenticateToken(leaving, "a")
		left <- err
	}()
	<-entered
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			if _, ok, err := tokens.AuthenticateToken(t.Context(), "a"); !ok || err != nil {
				t.Errorf("ok %t, error %v", ok, err)
			}
		})
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the client that left got %v", err)
	}
	close(release)
	wg.Wait()
	if n := calls.Load(); n != 1 {
		t.Errorf("%d reviews for one token at a time, want 1", n)
	}
}

func TestOversizedTokenIsRefusedUnreviewed(t *testing.T) {
	r := &reviewer{}
	tokens := newTestTokens(t, r, clocktesting.NewFakeClock(time.Unix(1000, 0)))
	expect(t, tokens, string(make([]byte, maxTokenBytes+1)), "", nil)
	if r.calls != 0 {
		t.Error("it was sent for review")
	}
}

func FuzzExpiry(f *testing.F) {
	for _, seed := range []string{"", "a.b.c", jwt(time.Unix(2000000000, 0)), "h.eyJleHAiOjFlMzA4fQ.s", "h.eyJleHAiOi0xfQ.s", "..", "h.bnVsbA.s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if e := expiry(token); !e.IsZero() && (e.Year() < 1970 || e.Year() > 10000) {
			t.Fatalf("expiry(%q) = %v", token, e)
		}
	})
}

func BenchmarkCachedToken(b *testing.B) {
	token := jwt(time.Unix(2000000000, 0)) + string(make([]byte, 900))
	tokens := newTestTokens(b, &reviewer{users: map[string]string{token: "alice"}}, clocktesting.NewFakeClock(time.Unix(1000, 0)))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := tokens.AuthenticateToken(b.Context(), token); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
