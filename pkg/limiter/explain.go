package limiter

import "github.com/asi-gateway/asi-gateway/pkg/request"

// Match is a rule that matches a request.
type Match struct {
	Name   string
	Phase  Phase
	DryRun bool
	// QPS is the rate in force.
	QPS float64
	// Tokens are how many requests of the bucket would pass now (see Tokens).
	Tokens float64
	// Refuses tells that the request would not pass, or in dry run be counted. Of
	// a Global rule only Redis knows, unless it refuses all.
	Refuses bool
}

// Explain returns the rules that match a request, in the order in which they are
// asked. Nothing is taken.
func (l *Limiter) Explain(a *request.Attributes) []Match {
	var matches []Match
	snapshot := l.snapshot.Load()
	for phase := range snapshot.phases {
		set := &snapshot.phases[phase]
		if len(set.rules) == 0 {
			continue
		}
		for _, id := range set.index.Find(a, nil) {
			r := &set.rules[id]
			lim := r.state.limits.Load()
			tokens, _ := l.Tokens(r.state.name, a)
			matches = append(matches, Match{
				Name: r.state.name, Phase: Phase(phase), DryRun: r.dryRun,
				QPS: lim.rate, Tokens: max(0, tokens), Refuses: lim.rate == 0 || (tokens < 1 && r.table.global == nil),
			})
		}
	}
	return matches
}
