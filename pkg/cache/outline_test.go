package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/cache/selection"
	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// namer is an upstream that tells outlines alone, as kube-apiserver writes them.
type namer struct {
	mu    sync.Mutex
	list  metav1.PartialObjectMetadataList
	asked []string
	// client is on whose behalf was asked last.
	client *request.Attributes
	// hold delays answers until it is closed, if it is not nil.
	hold chan struct{}
}

func (n *namer) RoundTrip(r *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.asked, n.client = append(n.asked, r.URL.Path+"?"+r.URL.RawQuery), request.Behalf(r.Context())
	list, hold := n.list.DeepCopy(), n.hold
	n.mu.Unlock()
	if r.Header.Get("Accept") != outlineAccept {
		return nil, fmt.Errorf("asked for %s", r.Header.Get("Accept"))
	}
	if hold != nil {
		<-hold
	}
	list.TypeMeta = metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"}
	scheme := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		return nil, err
	}
	var body bytes.Buffer
	if err := protobuf.NewSerializer(scheme, scheme).Encode(list, &body); err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(&body)}, nil
}

func (n *namer) questions() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.asked)
}

// names sets what is told: objects of namespace a, with a version each.
func (n *namer) names(rv string, objects ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.list = metav1.PartialObjectMetadataList{ListMeta: metav1.ListMeta{ResourceVersion: rv}}
	for _, o := range objects {
		name, version, _ := strings.Cut(o, "@")
		n.list.Items = append(n.list.Items, metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "a", UID: types.UID("uid-" + name), ResourceVersion: version,
		}})
	}
}

var filling = strings.Repeat("x", outlineAbove)

// configMap is the body of a large object.
func configMap(name string, rv uint64) string {
	return fmt.Sprintf(`"metadata":{"name":%q,"namespace":"a","uid":"uid-%s","resourceVersion":"%d"},"data":{"k":%q}}`, name, name, rv, filling)
}

func (s *stream) write(t *testing.T, name string, rv uint64) {
	t.Helper()
	err := s.Apply(wire.Modified, []byte(configMap(name, rv)), &wire.Meta{Namespace: "a", Name: name, UID: "uid-" + name, ResourceVersion: rv})
	if err != nil {
		t.Fatal(err)
	}
}

// quiet returns a stream at resource version 12 with two large objects, and an
// upstream that is ahead of it, at 50, where nothing of this kind has changed.
func quiet(t *testing.T) (*namer, *stream, *clocktesting.FakeClock) {
	n := &namer{}
	n.names("50", "m@11", "n@12")
	s, clock := followed(t, nil, 10)
	s.asker.client = n
	s.write(t, "m", 11)
	s.write(t, "n", 12)
	return n, s, clock
}

// outlinedOf answers a list of the namespace a by its outline.
func outlinedOf(t *testing.T, s *stream, labelSelector string, limit int64) (*Answer, Reason) {
	selected, err := selection.Parse(s.kind, true, "a", "", labelSelector, "")
	if err != nil {
		t.Error(err)
	}
	a := &Answer{
		stream: s, form: form{encoding: wire.JSON, ok: true}, selection: selected, Header: http.Header{},
		point: point{kind: newest, limit: limit}, query: &query{labelSelector: labelSelector, limit: limit},
		client: read(alice, "list", "a", "", ""),
	}
	return a.prepareOutlined(t.Context(), Strict)
}

// outlinedAtLast is outlinedOf, however long the state is waited for.
func outlinedAtLast(t *testing.T, s *stream, clock *clocktesting.FakeClock, labelSelector string, limit int64) (answer *Answer, reason Reason) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		answer, reason = outlinedOf(t, s, labelSelector, limit)
	}()
	giveUp(t, clock, done)
	return answer, reason
}

func bodyOf(t *testing.T, a *Answer) string {
	t.Helper()
	var body strings.Builder
	if err := a.WriteTo(context.Background(), &body, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return body.String()
}

func configMapList(meta string, items ...string) string {
	return `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{` + meta + `},"items":[{` + strings.Join(items, `,{`) + "]}\n"
}

func TestAQuietResourceIsListedByItsOutline(t *testing.T) {
	n, s, clock := quiet(t)
	a, reason := outlinedAtLast(t, s, clock, "", 0)
	if a == nil {
		t.Fatalf("declined: %s", reason)
	}
	if got, want := bodyOf(t, a), configMapList(`"resourceVersion":"50"`, configMap("m", 11), configMap("n", 12)); got != want {
		t.Errorf("got %.200s", strings.ReplaceAll(got, filling, "..."))
	}
	if n.asked[0] != "/api/v1/namespaces/a/configmaps?" {
		t.Errorf("asked for %s", n.asked[0])
	}
	// That the list is complete says nothing of the resource.
	if s.proofs.newest.Load() != nil {
		t.Error("taken for a proof")
	}
}

func TestOutlineOfAPageIsAPage(t *testing.T) {
	n, s, clock := quiet(t)
	n.names("50", "m@11")
	n.list.Continue = "next"
	n.list.RemainingItemCount = new(int64(1))
	a, reason := outlinedAtLast(t, s, clock, "", 1)
	if a == nil {
		t.Fatalf("declined: %s", reason)
	}
	if got, want := bodyOf(t, a), configMapList(`"resourceVersion":"50","continue":"next","remainingItemCount":1`, configMap("m", 11)); got != want {
		t.Errorf("got %.200s", strings.ReplaceAll(got, filling, "..."))
	}
	if n.asked[0] != "/api/v1/namespaces/a/configmaps?limit=1" {
		t.Errorf("asked for %s", n.asked[0])
	}
}

// nextPageOf is the page behind the object m of a list at resource version 50.
func nextPageOf(s *stream, selected *selection.Selection) *Answer {
	return &Answer{
		stream: s, form: form{encoding: wire.JSON, ok: true}, selection: selected, Header: http.Header{},
		point: point{kind: exactly, rv: 50, from: "a/m\x00", limit: 1}, query: &query{token: "next", limit: 1},
		client: read(alice, "list", "a", "", ""),
	}
}

func TestAPageOfAListAheadOfTheStateIsMadeByItsOutline(t *testing.T) {
	n, s, _ := quiet(t)
	s.restart = func(err error) { t.Error(err) }
	selected, err := selection.Parse(s.kind, true, "a", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	n.names("50", "n@12")
	a, reason := nextPageOf(s, selected).prepareOutlined(t.Context(), Future)
	if a == nil {
		t.Fatalf("declined: %s", reason)
	}
	if got, want := bodyOf(t, a), configMapList(`"resourceVersion":"50"`, configMap("n", 12)); got != want {
		t.Errorf("got %.200s", strings.ReplaceAll(got, filling, "..."))
	}
	if n.asked[0] != "/api/v1/namespaces/a/configmaps?continue=next&limit=1" {
		t.Errorf("asked for %s", n.asked[0])
	}
	// The state may pass it meanwhile, which says nothing of upstream now.
	s.write(t, "m", 60)
	if a, reason := nextPageOf(s, selected).prepareOutlined(t.Context(), Future); a == nil {
		t.Errorf("declined: %s", reason)
	}
	s.write(t, "n", 61)
	if a, reason := nextPageOf(s, selected).prepareOutlined(t.Context(), Future); a != nil || reason != Future {
		t.Errorf("got %v, %s for an object that has changed since", a, reason)
	}
	if s.proofs.newest.Load() != nil {
		t.Error("taken for a proof")
	}
}

func TestOutlineIsAskedWithTheSelectorsOfTheList(t *testing.T) {
	n, s, clock := quiet(t)
	if _, reason := outlinedAtLast(t, s, clock, "app=x,tier!=y", 0); reason != Strict || n.questions() != 0 {
		t.Fatalf("a list that is empty, as far as is known: %s, %d questions", reason, n.questions())
	}
	if a, reason := outlinedAtLast(t, s, clock, "app!=x", 0); a == nil {
		t.Fatalf("declined: %s", reason)
	}
	if want := "/api/v1/namespaces/a/configmaps?labelSelector=" + url.QueryEscape("app!=x"); n.asked[0] != want {
		t.Errorf("asked for %s, want %s", n.asked[0], want)
	}
}

func TestOutlineThatTheStateDoesNotHaveIsForwarded(t *testing.T) {
	for name, objects := range map[string][]string{
		"an object that has not come":    {"m@11", "n@12", "o@40"},
		"a change that has not come":     {"m@11", "n@40"},
		"one that is not there any more": {"l@9", "m@11", "n@12"},
		"one from before a change":       {"m@10", "n@12"},
	} {
		t.Run(name, func(t *testing.T) {
			n, s, clock := quiet(t)
			n.names("50", objects...)
			if a, reason := outlinedAtLast(t, s, clock, "", 0); a != nil || reason != Strict {
				t.Errorf("got %v, %s", a, reason)
			}
		})
	}
	t.Run("another object of the same name", func(t *testing.T) {
		n, s, clock := quiet(t)
		n.list.Items[1].UID = "another"
		if a, reason := outlinedAtLast(t, s, clock, "", 0); a != nil || reason != Strict {
			t.Errorf("got %v, %s", a, reason)
		}
	})
	t.Run("not followed", func(t *testing.T) {
		n, s, clock := quiet(t)
		s.Disconnected(io.EOF)
		if a, reason := outlinedAtLast(t, s, clock, "", 0); a != nil || reason != Strict || n.questions() != 0 {
			t.Errorf("got %v, %s, after %d questions", a, reason, n.questions())
		}
	})
	t.Run("no answer", func(t *testing.T) {
		_, s, clock := quiet(t)
		s.asker.client = &distant{}
		if a, reason := outlinedAtLast(t, s, clock, "", 0); a != nil || reason != Strict {
			t.Errorf("got %v, %s", a, reason)
		}
	})
}

func TestOutlinesThatAreOfNoUseAreGivenUp(t *testing.T) {
	n, s, clock := quiet(t)
	n.names("50", "m@11", "n@40")
	for range despair + sample {
		if a, reason := outlinedAtLast(t, s, clock, "", 0); a != nil || reason != Strict {
			t.Fatalf("got %v, %s", a, reason)
		}
	}
	if got, want := n.questions(), despair+1; got != want {
		t.Errorf("asked %d times, want %d: one list of %d finds out when they are of use again", got, want, sample)
	}
	n.names("60", "m@11", "n@12")
	for range 2 * sample {
		outlinedAtLast(t, s, clock, "", 0)
	}
	if got := s.outlines.misses.Load(); got != 0 {
		t.Errorf("%d misses after one that was of use", got)
	}
}

func TestOutlineIsAskedOnBehalfOfWhoLists(t *testing.T) {
	n, s, clock := quiet(t)
	if a, reason := outlinedAtLast(t, s, clock, "", 0); a == nil {
		t.Fatalf("declined: %s", reason)
	}
	if n.client == nil || n.client.UserName() != alice.GetName() {
		t.Errorf("asked on behalf of %v", n.client)
	}
}

// TestRelaxedReadsAreNotOlderThanAListThatWasShown: what was proved a while ago is
// new enough for them, and may be older than what an outline has shown since.
func TestRelaxedReadsAreNotOlderThanAListThatWasShown(t *testing.T) {
	_, s, clock := quiet(t)
	s.proofs.note(clock.Now(), 12)
	relaxed := point{kind: newest, need: need{since: clock.Now().Add(-time.Second)}}
	if least, reason := s.await(t.Context(), relaxed); least != 12 || reason != Hit {
		t.Fatalf("%d, %s before a list is shown", least, reason)
	}
	if a, reason := outlinedAtLast(t, s, clock, "", 0); a == nil {
		t.Fatalf("declined: %s", reason)
	}
	var reason Reason
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, reason = s.await(t.Context(), relaxed)
	}()
	giveUp(t, clock, done)
	if reason != Strict {
		t.Errorf("%q for a state from before a list that was shown", reason)
	}
	s.write(t, "n", 50)
	if least, reason := s.await(t.Context(), relaxed); least != 50 || reason != Hit {
		t.Errorf("%d, %s after the state has got there", least, reason)
	}
}

func TestOutlineWaitsForAChangeThatIsOnItsWay(t *testing.T) {
	n, s, clock := quiet(t)
	n.names("50", "m@11", "n@40")
	result := make(chan string)
	go func() {
		a, _ := outlinedOf(t, s, "", 0)
		result <- bodyOf(t, a)
	}()
	until(clock.HasWaiters)
	s.write(t, "n", 40)
	if got, want := <-result, configMapList(`"resourceVersion":"50"`, configMap("m", 11), configMap("n", 40)); got != want {
		t.Errorf("got %.200s", strings.ReplaceAll(got, filling, "..."))
	}
}

func TestOutlineThatTheStateIsAheadOfIsAProof(t *testing.T) {
	n, s, clock := quiet(t)
	n.names("12", "m@11", "n@12")
	a, reason := outlinedAtLast(t, s, clock, "", 0)
	if a == nil {
		t.Fatalf("declined: %s", reason)
	}
	if got, want := bodyOf(t, a), configMapList(`"resourceVersion":"12"`, configMap("m", 11), configMap("n", 12)); got != want {
		t.Errorf("got %.200s", strings.ReplaceAll(got, filling, "..."))
	}
	if known := s.proofs.newest.Load(); known == nil || known.rv != 12 {
		t.Errorf("proved %v", known)
	}
}

func TestOutlineFromBeforeTheStateIsOfARestoredUpstream(t *testing.T) {
	n, s, clock := quiet(t)
	n.names("11", "m@11")
	var why error
	s.restart = func(err error) { why = err }
	if a, reason := outlinedAtLast(t, s, clock, "", 0); a != nil || reason != Strict || why == nil {
		t.Errorf("got %v, %s, restarted because of %v", a, reason, why)
	}
}

func TestManyListsShareAnOutline(t *testing.T) {
	n, s, _ := quiet(t)
	n.hold = make(chan struct{})
	var all sync.WaitGroup
	read := func() {
		all.Go(func() {
			if a, reason := outlinedOf(t, s, "", 0); a == nil {
				t.Errorf("declined: %s", reason)
			}
		})
	}
	read()
	until(func() bool { return n.questions() == 1 })
	for range 20 {
		read()
	}
	until(func() bool {
		s.outlines.mu.Lock()
		defer s.outlines.mu.Unlock()
		for _, shared := range s.outlines.asking {
			shared.mu.Lock()
			defer shared.mu.Unlock()
			return shared.next != nil && shared.next.members == 20
		}
		return false
	})
	close(n.hold)
	all.Wait()
	if n.questions() != 2 {
		t.Errorf("%d questions", n.questions())
	}
	if len(s.outlines.asking) != 0 {
		t.Errorf("%d questions are remembered", len(s.outlines.asking))
	}
}
