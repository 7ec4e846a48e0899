package limiter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// modelRule is the plain reading of what a RateLimit promises.
type modelRule struct {
	object      *v1alpha1.RateLimit
	rate, burst float64
	tokens      map[string]float64
	// fresh is what a bucket that nobody has used has.
	fresh float64
}

func (m *modelRule) flow(seconds float64) {
	for k := range m.tokens {
		m.tokens[k] = min(m.burst, m.tokens[k]+seconds*m.rate)
	}
	m.fresh = min(m.burst, m.fresh+seconds*m.rate)
}

func (m *modelRule) set(o *v1alpha1.RateLimit) {
	was := m.object
	m.object, m.rate = o, o.Spec.QPS.AsApproximateFloat64()
	m.burst = float64(*o.Spec.Burst)
	if m.rate == 0 {
		m.burst = 0
	}
	if was == nil {
		m.fresh, m.tokens = m.burst, map[string]float64{}
	} else if len(was.Spec.Per) != len(o.Spec.Per) {
		m.fresh, m.tokens = 1, map[string]float64{}
	}
	m.flow(0)
}

func (m *modelRule) key(a *request.Attributes) string {
	key := ""
	if len(m.object.Spec.Per) > 0 {
		key = a.ClientName
	}
	if _, ok := m.tokens[key]; !ok {
		m.tokens[key] = m.fresh
	}
	return key
}

// taken are tokens that a request has, by rule.
type taken map[int]string

// FuzzModel holds the limiter against the model, decision by decision.
func FuzzModel(f *testing.F) {
	for seed := range uint64(300) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		const tolerance = 1e-6
		random := rand.New(rand.NewPCG(seed, 7))
		modes := []v1alpha1.Mode{v1alpha1.ModeEnforce, v1alpha1.ModeEnforce, v1alpha1.ModeDryRun, v1alpha1.ModeOff}
		object := func(i int) *v1alpha1.RateLimit {
			o := rateLimit(fmt.Sprint("rule-", i), []string{"0", "0.3", "2", "7", "50"}[random.IntN(5)], burst(1+random.Int32N(9)), mode(modes[random.IntN(4)]))
			if random.IntN(2) == 0 {
				per(v1alpha1.PerUserAgent)(o)
			}
			return o
		}
		rules := make([]*modelRule, 3)
		var objects []*v1alpha1.RateLimit
		for i := range rules {
			rules[i] = &modelRule{}
			objects = append(objects, object(i))
			rules[i].set(objects[i])
		}
		r := newRig(t, objects...)
		type open struct {
			ticket *Ticket
			taken  taken
		}
		var under []open
		back := func(has taken) {
			for i, key := range has {
				// What it counts by may have changed meanwhile.
				if _, ok := rules[i].tokens[key]; ok {
					rules[i].tokens[key] = min(rules[i].burst, rules[i].tokens[key]+1)
				}
			}
		}
		for step := range 300 {
			switch random.IntN(12) {
			case 0:
				i := random.IntN(len(rules))
				objects[i] = object(i)
				if len(objects[i].Spec.Per) != len(rules[i].object.Spec.Per) {
					// Refunds to buckets that are gone are not modelled.
					for _, u := range under {
						u.ticket.Done()
					}
					under = nil
				}
				rules[i].set(objects[i])
				r.Update(objects, 1)
			case 1, 2, 3:
				d := time.Duration(random.IntN(1000)) * time.Millisecond
				r.clock.Step(d)
				for _, m := range rules {
					m.flow(d.Seconds())
				}
			case 4:
				if len(under) > 0 {
					under[0].ticket.Refund()
					back(under[0].taken)
					under = under[1:]
				}
			default:
				a := attributes(fmt.Sprint("client-", random.IntN(3)), "")
				allowed, unsure := true, false
				has := taken{}
				for i, m := range rules {
					if m.object.Spec.Mode == v1alpha1.ModeOff {
						continue
					}
					key := m.key(a)
					tokens := m.tokens[key]
					unsure = unsure || (tokens > 1-tolerance && tokens < 1+tolerance)
					switch {
					case tokens >= 1-tolerance && m.rate > 0:
						m.tokens[key]--
						has[i] = key
					case m.object.Spec.Mode == v1alpha1.ModeEnforce:
						allowed = false
					}
					if !allowed {
						break
					}
				}
				if !allowed {
					back(has)
				}
				ticket := &Ticket{}
				if d := r.Admit(BeforeAuthentication, a, ticket); d.Allowed != allowed {
					if unsure {
						return // a token that is there but for rounding
					}
					t.Fatalf("step %d: allowed %t by %q, model says %t", step, d.Allowed, d.Rule, allowed)
				}
				if allowed {
					under = append(under, open{ticket, has})
				}
			}
		}
	})
}
