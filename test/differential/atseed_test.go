package differential

import (
	"net/http"
	"strings"
)

// atSeed are reads of other groups once more, for a state not older than $SEED: a
// cache answers them however quiet the resource is, where reads of the newest state
// are forwarded while others are written.
var atSeed = group{"seed", notOlderThanSeed(reads, encodings, selectors, customResources)}

func notOlderThanSeed(groups ...group) (all []testCase) {
	for _, g := range groups {
		for _, tc := range g.cases {
			variant := testCase{name: g.name + " " + tc.name}
			for _, s := range tc.steps {
				if s.method != http.MethodGet || strings.Contains(s.path, "resourceVersion") || strings.Contains(s.path, "continue=") || strings.Contains(s.path, "watch") {
					break
				}
				separator := "?"
				if strings.Contains(s.path, "?") {
					separator = "&"
				}
				s.path += separator + "resourceVersion=$SEED"
				variant.steps = append(variant.steps, s)
			}
			if len(tc.steps) > 0 && len(variant.steps) == len(tc.steps) {
				all = append(all, variant)
			}
		}
	}
	return all
}
