package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/singleflight"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// maxTokenBytes bounds what is hashed and sent for review.
	maxTokenBytes = 64 << 10
	// retryReviewAfter spaces the reviews of a token whose last review found no
	// apiserver, while its earlier positive answer holds.
	retryReviewAfter = time.Second
	// badTTL is how long a refused token is refused without asking again: short,
	// for an apiserver whose own token webhook fails refuses good tokens too.
	badTTL = 2 * time.Second
)

// Review judges a token: the user it belongs to, nil if it is not good. An
// error means that no apiserver could be asked.
type Review func(ctx context.Context, token string) (user.Info, error)

// TokenOptions bound what is remembered of bearer tokens.
type TokenOptions struct {
	// TTL is how long a positive review is used without asking again.
	TTL time.Duration
	// OutageTTL is how long after its review a positive answer may be used
	// while no apiserver can be asked. Never past the token's own expiry.
	OutageTTL time.Duration
	// MaxTokens bounds each of the two caches, good tokens and bad ones.
	MaxTokens int
	// ReviewTimeout bounds one review, queueing included.
	ReviewTimeout time.Duration
	// Spared tells requests that no limit bounds before they are authenticated.
	Spared func(*request.Attributes) bool
}

// Tokens authenticates bearer tokens by review, with a memory. It implements
// authenticator.Token; Response.User is a *request.Identity.
type Tokens struct {
	review  Review
	assert  Assert
	options TokenOptions
	clock   clock.PassiveClock

	// secret keys the hashes under which tokens are remembered, so that memory
	// holds no token and a client cannot choose its place in the caches.
	secret [sha256.Size]byte
	good   *lru.Cache[tokenKey, *goodToken]
	bad    *lru.Cache[tokenKey, time.Time]
	flight singleflight.Group
	lines  lines

	hits, extended, reviews prometheus.Counter
}

type tokenKey [sha256.Size]byte

type goodToken struct {
	identity *request.Identity
	reviewed time.Time
	expires  time.Time    // the token's own expiry; zero if it tells none
	failed   atomic.Int64 // when a review last found no apiserver, Unix ns
}

// NewTokens returns Tokens that ask review.
func NewTokens(review Review, assert Assert, o TokenOptions, clock clock.PassiveClock) (*Tokens, error) {
	good, err := lru.New[tokenKey, *goodToken](o.MaxTokens)
	if err != nil {
		return nil, fmt.Errorf("token cache: %w", err)
	}
	bad, err := lru.New[tokenKey, time.Time](o.MaxTokens)
	if err != nil {
		return nil, fmt.Errorf("token cache: %w", err)
	}
	t := &Tokens{
		review: review, assert: assert, options: o, clock: clock,
		good: good, bad: bad, lines: newLines(),
		hits:     answered("cache"),
		reviews:  answered("review"),
		extended: answered("extended"),
	}
	if _, err := rand.Read(t.secret[:]); err != nil {
		return nil, err
	}
	return t, nil
}

func answered(source string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name:        "asi_gateway_token_authentications_total",
		Help:        "Bearer tokens judged, by source: cache, review, or extended (from memory because no kube-apiserver could be asked).",
		ConstLabels: prometheus.Labels{"source": source},
	})
}

// Register exports what the caches do.
func (t *Tokens) Register(r prometheus.Registerer) error {
	return errors.Join(r.Register(t.hits), r.Register(t.reviews), r.Register(t.extended))
}

// AuthenticateToken implements authenticator.Token. Errors are ErrUnavailable
// or from ctx; a token that is simply not good gives false and no error.
func (t *Tokens) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if len(token) > maxTokenBytes {
		return nil, false, nil
	}
	key := t.key(token)
	now := t.clock.Now()
	good, _ := t.good.Get(key)
	if good != nil && t.fresh(good, now) {
		t.hits.Inc()
		return response(good), true, nil
	}
	if until, ok := t.bad.Get(key); ok && now.Before(until) {
		t.hits.Inc()
		return nil, false, nil
	}
	if good != nil && now.Sub(time.Unix(0, good.failed.Load())) < retryReviewAfter && t.extendable(good, now) {
		t.extended.Inc()
		return response(good), true, nil
	}

	reviewed, err := t.shared(ctx, t.line(ctx, good), key, token)
	switch {
	case err == nil && reviewed == nil:
		return nil, false, nil
	case err == nil:
		return response(reviewed), true, nil
	case good != nil && errors.Is(err, ErrUnavailable) && t.extendable(good, now):
		good.failed.Store(now.UnixNano())
		t.extended.Inc()
		return response(good), true, nil
	default:
		return nil, false, err
	}
}

// shared reviews a token once for all requests that wait for it in a line. The review
// does not depend on any one of them staying.
func (t *Tokens) shared(ctx context.Context, l *line, key tokenKey, token string) (*goodToken, error) {
	done := t.flight.DoChan(string(append(key[:], l.name)), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.options.ReviewTimeout)
		defer cancel()
		return t.ask(ctx, l, key, token)
	})
	select {
	case result := <-done:
		good, _ := result.Val.(*goodToken)
		return good, result.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// line is where a token waits for its review.
func (t *Tokens) line(ctx context.Context, good *goodToken) *line {
	if good != nil {
		return &t.lines.known
	}
	if a := request.From(ctx); a != nil && t.options.Spared != nil && t.options.Spared(a) {
		return &t.lines.spared
	}
	return &t.lines.others
}

func (t *Tokens) ask(ctx context.Context, l *line, key tokenKey, token string) (*goodToken, error) {
	if err := l.enter(ctx); err != nil {
		return nil, err
	}
	defer l.leave()

	t.reviews.Inc()
	u, err := t.review(ctx, token)
	now := t.clock.Now()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if u == nil {
		t.good.Remove(key)
		t.bad.Add(key, now.Add(badTTL))
		return nil, nil
	}
	identity, err := t.assert.Identity(u)
	if err != nil {
		return nil, err
	}
	good := &goodToken{identity: identity, reviewed: now, expires: expiry(token)}
	t.bad.Remove(key)
	t.good.Add(key, good)
	return good, nil
}

func (t *Tokens) fresh(g *goodToken, now time.Time) bool {
	return now.Sub(g.reviewed) < t.options.TTL && !g.expired(now)
}

func (t *Tokens) extendable(g *goodToken, now time.Time) bool {
	return now.Sub(g.reviewed) < t.options.OutageTTL && !g.expired(now)
}

func (g *goodToken) expired(now time.Time) bool {
	return !g.expires.IsZero() && !now.Before(g.expires)
}

func (t *Tokens) key(token string) tokenKey {
	h := sha256.New()
	h.Write(t.secret[:])
	h.Write([]byte(token))
	return tokenKey(h.Sum(nil))
}

func response(g *goodToken) *authenticator.Response {
	return &authenticator.Response{User: g.identity}
}

// expiry reads the exp claim of a JSON Web Token (RFC 7519 section 4.1.4)
// without verifying anything: it can only shorten what a review has allowed.
// Zero for a token of another kind, or without the claim.
func expiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Expires float64 `json:"exp"`
	}
	// Beyond the year 10000 the claim says nothing that int64 seconds could not hold.
	if json.Unmarshal(payload, &claims) != nil || claims.Expires <= 0 || claims.Expires > 253402300800 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Expires), 0)
}
