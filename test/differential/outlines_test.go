package differential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

var tokenOfPage = regexp.MustCompile(`"continue":"([^"]+)"`)

// testOutlines lists long custom resources while others are written all the time, so
// that no probe shows that the cache has the newest of them. Gateways with a cache
// answer from it nevertheless, by the names and versions that the kube-apiserver
// tells; what a write before has done must be there.
func testOutlines(t *testing.T, b *bench) {
	admin := seeder{t.Context(), b}
	filling := strings.Repeat("x", 40<<10)
	for _, name := range []string{"long-a", "long-b", "long-c"} {
		if _, err := admin.do(post(widgets, fmt.Sprintf(`{"apiVersion":"diff.example.com/v1","kind":"Widget",
			"metadata":{"name":%q,"labels":{"long":"yes"},"annotations":{"filling":%q}},"spec":{"color":"red"}}`, name, filling))); err != nil {
			t.Fatal(err)
		}
	}
	defer startNoise(t, b)()
	const selected = "labelSelector=long%3Dyes"
	for v, node := range b.nodes {
		if !v.cached {
			continue
		}
		t.Run(v.String(), func(t *testing.T) {
			for q, query := range []string{selected, selected + "&limit=2", selected + "&fieldSelector=spec.color%3Dred"} {
				for i := range 5 {
					written := fmt.Sprintf("%s, %d, %d", v, q, i)
					if _, err := admin.do(patch("application/merge-patch+json", widgets+"/long-a", fmt.Sprintf(`{"metadata":{"annotations":{"written":%q}}}`, written))); err != nil {
						t.Fatal(err)
					}
					b.listsOutlined(t, v, node, widgets+"?"+query, strconv.Quote(written))
				}
			}
		})
	}
}

// listsOutlined lists until an answer is made by an outline; all of them must be what
// a direct one is, with what was written before.
func (b *bench) listsOutlined(t *testing.T, v variant, node *fixture.Gateway, path, written string) {
	t.Helper()
	before := countOutlined(t, node)
	want := b.direct.must(t, get(path))
	lists := 0
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, recachedWithin, true, func(context.Context) (bool, error) {
		got := b.gateways[v].must(t, get(path))
		lists++
		if !bytes.Contains(got.body, []byte(written)) {
			return false, fmt.Errorf("%s was written before and is not in %.2000s", written, got.body)
		}
		if g, w := maskContinue(string(masked(got.body))), maskContinue(string(masked(want.body))); g != w {
			return false, fmt.Errorf("%.2000s\ndirect: %.2000s", g, w)
		}
		if countOutlined(t, node) == before {
			return false, nil
		}
		return true, b.nextOutlined(t, v, path, got.body)
	})
	if err != nil {
		t.Fatalf("GET %s, %d times: %v", path, lists, err)
	}
}

// nextOutlined reads what follows a page, at a resource version that the state has
// hardly reached.
func (b *bench) nextOutlined(t *testing.T, v variant, path string, page []byte) error {
	t.Helper()
	token := tokenOfPage.FindSubmatch(page)
	if token == nil {
		return nil
	}
	next := get(path + "&continue=" + string(token[1]))
	got, want := b.gateways[v].must(t, next), b.direct.must(t, next)
	if !bytes.Equal(got.body, want.body) {
		return fmt.Errorf("the next page is %.2000s\ndirect: %.2000s", got.body, want.body)
	}
	if !fromMemory(got.header) {
		return errors.New("the next page was forwarded")
	}
	return nil
}

func countOutlined(t *testing.T, node *fixture.Gateway) float64 {
	t.Helper()
	metrics, err := node.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return metrics.Sum("asi_gateway_cache_outlined_lists_total", `resource="widgets.diff.example.com"`)
}
