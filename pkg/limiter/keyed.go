package limiter

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

const (
	// maxKeyBytes bounds each name in a key; a longer one is replaced by its hash.
	maxKeyBytes = 128
	// shards spreads the lookups in a keyed table.
	shards = 32
	// evictionSamples is how many buckets are looked at to find one to forget.
	evictionSamples = 4
)

// key tells the buckets of a rule apart. It has no pointers but strings, so that
// hashing it does not move it to the heap.
type key struct {
	client, user, namespace string
	source                  [16]byte
}

// keyParts is what a key is made of.
type keyParts struct{ client, user, namespace, source bool }

func partsOf(per []v1alpha1.BucketKey) (p keyParts) {
	for _, k := range per {
		switch k {
		case v1alpha1.PerUserAgent:
			p.client = true
		case v1alpha1.PerUser:
			p.user = true
		case v1alpha1.PerNamespace:
			p.namespace = true
		case v1alpha1.PerSourceIP:
			p.source = true
		}
	}
	return p
}

func (p keyParts) of(a *request.Attributes) (k key) {
	if p.client {
		k.client = bounded(a.ClientName)
	}
	// A request without credentials has the key of nobody.
	if p.user && a.Identity != nil {
		k.user = bounded(a.Identity.GetName())
	}
	if p.namespace {
		k.namespace = bounded(a.Namespace)
	}
	if p.source && a.SourceIP != (netip.Addr{}) {
		k.source = a.SourceIP.As16()
	}
	return k
}

func bounded(name string) string {
	if len(name) <= maxKeyBytes {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// clone returns a key that does not hold on to the request it came from.
func (k key) clone() key {
	k.client, k.user, k.namespace = strings.Clone(k.client), strings.Clone(k.user), strings.Clone(k.namespace)
	return k
}

// keyed is a bounded table of buckets.
type keyed struct {
	seed   maphash.Seed
	shards [shards]shard
	// perShard is how many buckets a shard may have.
	perShard int
}

type shard struct {
	mu      sync.Mutex
	buckets map[key]*bucket
	// ring has the same buckets, in the order in which hand looks for one to
	// forget.
	ring []*bucket
	hand int
}

func newKeyed(maxKeys int) *keyed {
	t := &keyed{seed: maphash.MakeSeed(), perShard: max(1, maxKeys/shards)}
	for i := range t.shards {
		t.shards[i].buckets = map[key]*bucket{}
	}
	return t
}

func (t *keyed) shard(k key) *shard {
	return &t.shards[maphash.Comparable(t.seed, k)%shards]
}

func (t *keyed) peek(k key) *bucket {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buckets[k]
}

// find returns the bucket of k. If there is none it makes one, in the place of
// one that can be forgotten if all places are taken; nil if none can.
func (t *keyed) find(k key, table *table, now time.Time) *bucket {
	s := t.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, ok := s.buckets[k]; ok {
		return b
	}
	place := len(s.ring)
	if place >= t.perShard {
		if place = s.evict(table, now); place < 0 {
			return nil
		}
	} else {
		s.ring = append(s.ring, nil)
	}
	k = k.clone()
	b := table.newBucket(k, now)
	s.ring[place] = b
	s.buckets[k] = b
	return b
}

// evict forgets a bucket whose loss changes nothing, and returns its place.
func (s *shard) evict(table *table, now time.Time) int {
	full := table.untouched.tokensAt(now)
	for range min(evictionSamples, len(s.ring)) {
		place := s.hand
		s.hand = (s.hand + 1) % len(s.ring)
		if b := s.ring[place]; b.forget(table.global, full, now) {
			delete(s.buckets, b.key)
			return place
		}
	}
	return -1
}

// forget marks the bucket as gone if a new one would be the same: nothing in
// flight, and as many tokens as one that was never used.
func (b *bucket) forget(g *global, full float64, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight.Load() > 0 {
		return false
	}
	if b.lease != nil {
		b.gone = b.idle(g, now)
	} else {
		b.gone = b.tokens.TokensAt(b.clamp(now)) >= full
	}
	return b.gone
}

func (t *keyed) each(do func(*bucket)) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		for _, b := range s.ring {
			do(b)
		}
		s.mu.Unlock()
	}
}

func (t *keyed) len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += len(s.ring)
		s.mu.Unlock()
	}
	return n
}
