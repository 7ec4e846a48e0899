package differential

import (
	"regexp"
	"testing"
)

var hits = regexp.MustCompile(`^asi_gateway_cache_reads_total\{reason="(\w+)",resource="([\w.]+)",verb="(\w+)"\}$`)

// testHits makes sure that gateways with a cache have answered from it: what is
// compared would agree all the better if they had not.
func testHits(t *testing.T, b *bench) {
	for v, node := range b.nodes {
		metrics, err := node.Metrics(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found, byReason, custom := map[string]int{}, map[string]int{}, map[string]int{}
		for series, value := range metrics {
			m := hits.FindStringSubmatch(series)
			if m == nil {
				continue
			}
			n := int(value)
			if byReason[m[1]] += n; m[1] == "Hit" {
				found[m[3]] += n
				if m[2] == "widgets.diff.example.com" {
					custom[m[3]] += n
				}
			}
		}
		if !v.cached {
			if len(byReason) > 0 {
				t.Errorf("%s has a cache: %v", v, byReason)
			}
			continue
		}
		for verb, least := range map[string]int{"get": 20, "list": 40, "watch": 2} {
			if found[verb] < least {
				t.Errorf("%s: %d answers to %s from the cache, want %d at least", v, found[verb], verb, least)
			}
		}
		for verb, least := range map[string]int{"get": 2, "list": 15, "watch": 2} {
			if custom[verb] < least {
				t.Errorf("%s: %d answers to %s of custom resources from the cache, want %d at least", v, custom[verb], verb, least)
			}
		}
		t.Logf("%s: %v from the cache, %v of it of custom resources; all by reason: %v", v, found, custom, byReason)
	}
}
