package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// judge answers with what verdict returns, and counts.
type judge struct {
	asked   atomic.Int32
	verdict func(authorizer.Attributes) (authorizer.Decision, error)
	reason  string
}

func (j *judge) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	j.asked.Add(1)
	d, err := j.verdict(a)
	return d, j.reason, err
}

func (j *judge) ConditionsAwareAuthorize(ctx context.Context, a authorizer.Attributes) authorizer.ConditionsAwareDecision {
	panic("not asked here")
}

func (j *judge) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	panic("not asked here")
}

func allow(authorizer.Attributes) (authorizer.Decision, error) { return authorizer.DecisionAllow, nil }

// read are the attributes of a read of pods by a user.
func read(as user.Info, verb, namespace, name, fieldSelector string) *request.Attributes {
	return &request.Attributes{
		RequestInfo: &apirequest.RequestInfo{
			IsResourceRequest: true, Verb: verb, APIVersion: "v1", Resource: "pods", Namespace: namespace, Name: name, FieldSelector: fieldSelector,
		},
		Identity: &request.Identity{Info: as},
	}
}

func testAccess(t *testing.T, j *judge, followed bool) (*access, *clocktesting.FakeClock) {
	t.Helper()
	return testAccessWhile(t, j, func() bool { return followed })
}

// testAccessWhile returns access with roles that are followed at times.
func testAccessWhile(t *testing.T, j *judge, followed func() bool) (*access, *clocktesting.FakeClock) {
	t.Helper()
	clock := clocktesting.NewFakeClock(time.Unix(1_000_000, 0))
	x, err := newAccess(j, 10*time.Minute, clock, followed)
	if err != nil {
		t.Fatal(err)
	}
	return x, clock
}

func mustBe(t *testing.T, x *access, a *request.Attributes, want bool) {
	t.Helper()
	got, err := x.allowed(t.Context(), a)
	if err != nil || got != want {
		t.Errorf("%s %s/%s by %s: allowed %v, %v; want %v", a.Verb, a.Namespace, a.Name, a.Identity.GetName(), got, err, want)
	}
}

var alice = &user.DefaultInfo{Name: "alice", Groups: []string{"g"}}

func TestPermissionIsRememberedUntilSomethingChanges(t *testing.T) {
	j := &judge{verdict: allow}
	x, clock := testAccess(t, j, true)
	a := read(alice, "list", "a", "", "")
	for range 3 {
		mustBe(t, x, a, true)
		clock.Step(trustFor / 4)
	}
	if n := j.asked.Load(); n != 1 {
		t.Errorf("asked %d times within %s", n, trustFor)
	}
	clock.Step(trustFor)
	mustBe(t, x, a, true)
	j.verdict = func(authorizer.Attributes) (authorizer.Decision, error) { return authorizer.DecisionNoOpinion, nil }
	mustBe(t, x, a, true)
	x.revoke()
	mustBe(t, x, a, false)
	// A permission of the moment after a change is doubted: the apiserver that gave
	// it may not have seen the change.
	j.verdict = allow
	clock.Step(settleFor / 2)
	mustBe(t, x, a, true)
	j.verdict = func(authorizer.Attributes) (authorizer.Decision, error) { return authorizer.DecisionDeny, nil }
	clock.Step(doubtFor)
	mustBe(t, x, a, false)
}

// TestHowLongAPermissionIsRemembered: for long if it follows from roles, which are
// followed. That a node may read its own follows from nothing else; what else a node may
// do changes with its pods.
func TestHowLongAPermissionIsRemembered(t *testing.T) {
	node := &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}}
	secret := read(node, "watch", "a", "", "metadata.name=s")
	secret.Resource = "secrets"
	its := read(node, "get", "", "n1", "")
	its.Resource = "nodes"
	lists := read(alice, "list", "a", "", "")
	for name, tc := range map[string]struct {
		followed bool
		reason   string
		a        *request.Attributes
		lasts    time.Duration
	}{
		"roles not followed":    {false, byRole + `ClusterRoleBinding "readers"`, lists, doubtFor},
		"a node gets an object": {true, "", read(node, "get", "a", "p", ""), doubtFor},
		"a node watches one":    {true, "", secret, doubtFor},
		"nobody knows why":      {true, "", lists, trustFor},
		"a webhook says why":    {true, "because", lists, trustFor},
		"a role":                {true, byRole + `ClusterRoleBinding "readers" of ClusterRole "reader" to Group "g"`, lists, grantedFor},
		"a node by a role":      {true, byRole + `ClusterRoleBinding "nodes"`, read(node, "get", "a", "p", ""), grantedFor},
		"a node's own":          {true, "", its, grantedFor},
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{verdict: allow, reason: tc.reason}
			x, clock := testAccess(t, j, tc.followed)
			for _, step := range []struct {
				wait  time.Duration
				asked int32
			}{{0, 1}, {tc.lasts - time.Millisecond, 1}, {time.Millisecond, 2}} {
				clock.Step(step.wait)
				mustBe(t, x, tc.a, true)
				if n := j.asked.Load(); n != step.asked {
					t.Errorf("asked %d times, want %d", n, step.asked)
				}
			}
			x.revoke()
			j.verdict = func(authorizer.Attributes) (authorizer.Decision, error) { return authorizer.DecisionNoOpinion, nil }
			mustBe(t, x, tc.a, false)
		})
	}
}

func refuse(authorizer.Attributes) (authorizer.Decision, error) {
	return authorizer.DecisionNoOpinion, nil
}

// TestPermissionIsDoubtedWhileChangesAreNotFollowed, whatever it was before; unless
// nobody can be asked.
func TestPermissionIsDoubtedWhileChangesAreNotFollowed(t *testing.T) {
	followed := true
	j := &judge{verdict: allow, reason: byRole + "x"}
	x, clock := testAccessWhile(t, j, func() bool { return followed })
	a := read(alice, "list", "a", "", "")
	mustBe(t, x, a, true)
	clock.Step(time.Minute)
	mustBe(t, x, a, true)
	if n := j.asked.Load(); n != 1 {
		t.Fatalf("asked %d times", n)
	}
	followed = false
	mustBe(t, x, a, true)
	clock.Step(doubtFor)
	j.verdict = refuse
	mustBe(t, x, a, false)
}

// TestNobodyWaitsForAFrozenApiserverToBeSureOfAPermission: it was given, and is believed
// for a while.
func TestNobodyWaitsForAFrozenApiserverToBeSureOfAPermission(t *testing.T) {
	followed, frozen := true, make(chan struct{})
	j := &judge{verdict: allow, reason: byRole + "x"}
	x, clock := testAccessWhile(t, j, func() bool { return followed })
	a := read(alice, "list", "a", "", "")
	mustBe(t, x, a, true)
	clock.Step(time.Minute)
	followed = false
	j.verdict = func(authorizer.Attributes) (authorizer.Decision, error) {
		<-frozen
		return authorizer.DecisionAllow, nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		mustBe(t, x, a, true)
	}()
	for !clock.HasWaiters() {
		runtime.Gosched()
	}
	clock.Step(patientFor)
	<-done
	asked := j.asked.Load()
	mustBe(t, x, a, true)
	mustBe(t, x, read(alice, "list", "a", "", ""), true)
	if n := j.asked.Load(); n != asked {
		t.Errorf("asked %d times more when nobody had answered", n-asked)
	}
	close(frozen)
}

// TestAnswerThatTakesLongIsAsOldAsItsQuestion: what has just changed when it was asked
// may not be in it.
func TestAnswerThatTakesLongIsAsOldAsItsQuestion(t *testing.T) {
	j := &judge{reason: byRole + "x"}
	x, clock := testAccess(t, j, true)
	j.verdict = func(authorizer.Attributes) (authorizer.Decision, error) {
		clock.Step(2 * settleFor)
		return authorizer.DecisionAllow, nil
	}
	a := read(alice, "list", "a", "", "")
	x.revoke()
	clock.Step(10 * time.Millisecond)
	mustBe(t, x, a, true)
	j.verdict = refuse
	mustBe(t, x, a, false)
}

// TestEveryPartOfAQuestionCounts: two requests that differ in anything must not
// share a decision, whatever clients put into names.
func TestEveryPartOfAQuestionCounts(t *testing.T) {
	seen := map[question]string{}
	questions := map[string]*request.Attributes{
		"plain":             read(alice, "get", "a", "p", ""),
		"verb":              read(alice, "list", "a", "p", ""),
		"namespace":         read(alice, "get", "b", "p", ""),
		"name":              read(alice, "get", "a", "q", ""),
		"selector":          read(alice, "get", "a", "p", "spec.nodeName=n"),
		"user":              read(&user.DefaultInfo{Name: "bob", Groups: []string{"g"}}, "get", "a", "p", ""),
		"group":             read(&user.DefaultInfo{Name: "alice", Groups: []string{"h"}}, "get", "a", "p", ""),
		"groups":            read(&user.DefaultInfo{Name: "alice", Groups: []string{"g", "h"}}, "get", "a", "p", ""),
		"uid":               read(&user.DefaultInfo{Name: "alice", UID: "g"}, "get", "a", "p", ""),
		"extra":             read(&user.DefaultInfo{Name: "alice", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v"}}}, "get", "a", "p", ""),
		"extra values":      read(&user.DefaultInfo{Name: "alice", Groups: []string{"g"}, Extra: map[string][]string{"k": {"v", "w"}}}, "get", "a", "p", ""),
		"extra keys":        read(&user.DefaultInfo{Name: "alice", Groups: []string{"g"}, Extra: map[string][]string{"k": {}, "v": {}}}, "get", "a", "p", ""),
		"separator in name": read(&user.DefaultInfo{Name: "alice\x00\x01\x00\x01g", Groups: nil}, "get", "a", "p", ""),
		"a nought byte":     read(&user.DefaultInfo{Name: "alice\x00", Groups: []string{"g"}}, "get", "a", "p", ""),
		"moved":             read(alice, "get", "ap", "", ""),
	}
	for name, a := range questions {
		q := questionOf(a.Identity.Info, a)
		if other, ok := seen[q]; ok {
			t.Errorf("%s and %s are the same question", name, other)
		}
		seen[q] = name
	}
}

// FuzzQuestion looks for two different users that ask the same question.
func FuzzQuestion(f *testing.F) {
	f.Add("a", "b", "c", "d", "a\x00\x01b", "", "c", "d")
	f.Fuzz(func(t *testing.T, name1, group1, ns1, object1, name2, group2, ns2, object2 string) {
		a := read(&user.DefaultInfo{Name: name1, Groups: []string{group1}}, "get", ns1, object1, "")
		b := read(&user.DefaultInfo{Name: name2, Groups: []string{group2}}, "get", ns2, object2, "")
		same := name1 == name2 && group1 == group2 && ns1 == ns2 && object1 == object2
		if (questionOf(a.Identity.Info, a) == questionOf(b.Identity.Info, b)) != same {
			t.Errorf("%v and %v", a.Identity.Info, b.Identity.Info)
		}
	})
}

func TestManyWhoAskTheSameAskOnce(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	j := &judge{verdict: func(authorizer.Attributes) (authorizer.Decision, error) {
		close(asked)
		<-answer
		return authorizer.DecisionAllow, nil
	}}
	x, _ := testAccess(t, j, true)
	var all sync.WaitGroup
	ask := func(ctx context.Context) {
		all.Go(func() {
			if ok, err := x.allowed(ctx, read(alice, "list", "", "", "")); !ok || err != nil {
				t.Errorf("allowed %v, %v", ok, err)
			}
		})
	}
	// The first one goes away; the others still get its answer.
	first, cancel := context.WithCancel(t.Context())
	ask(first)
	<-asked
	cancel()
	for range 10 {
		ask(t.Context())
	}
	close(answer)
	all.Wait()
	if n := j.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestWhoComesAfterARevocationIsAskedFor: an answer that is under way when roles change
// is for those who came before.
func TestWhoComesAfterARevocationIsAskedFor(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	j := &judge{verdict: func(authorizer.Attributes) (authorizer.Decision, error) {
		if first.CompareAndSwap(false, true) {
			close(asked)
			<-answer
			return authorizer.DecisionAllow, nil
		}
		return authorizer.DecisionNoOpinion, nil
	}}
	x, _ := testAccess(t, j, true)
	a := read(alice, "list", "", "", "")
	before := make(chan bool)
	go func() {
		ok, _ := x.allowed(t.Context(), a)
		before <- ok
	}()
	<-asked
	x.revoke()
	mustBe(t, x, a, false)
	close(answer)
	if !<-before {
		t.Error("who came before is refused")
	}
	mustBe(t, x, a, false)
}

func TestPermissionsOutliveTheApiserver(t *testing.T) {
	j := &judge{verdict: allow}
	x, clock := testAccess(t, j, true)
	known, unknown := read(alice, "list", "a", "", ""), read(alice, "list", "b", "", "")
	mustBe(t, x, known, true)
	gone := errors.New("no apiserver can be asked")
	j.verdict = func(authorizer.Attributes) (authorizer.Decision, error) { return authorizer.DecisionNoOpinion, gone }
	clock.Step(x.outage - time.Second)
	mustBe(t, x, known, true)
	if _, err := x.allowed(t.Context(), unknown); !errors.Is(err, gone) {
		t.Errorf("error %v for what nobody has judged", err)
	}
	clock.Step(2 * time.Second)
	if _, err := x.allowed(t.Context(), known); !errors.Is(err, gone) {
		t.Errorf("error %v after the outage has lasted too long", err)
	}
}

func TestSelectorsAreJudged(t *testing.T) {
	var got string
	j := &judge{verdict: func(a authorizer.Attributes) (authorizer.Decision, error) {
		requirements, err := a.GetFieldSelector()
		got = fmt.Sprint(requirements, err)
		if len(requirements) == 0 {
			return authorizer.DecisionNoOpinion, nil
		}
		return authorizer.DecisionAllow, nil
	}}
	x, _ := testAccess(t, j, true)
	node := &user.DefaultInfo{Name: "system:node:n1", Groups: []string{user.NodesGroup}}
	for _, u := range []*user.DefaultInfo{alice, node} {
		mustBe(t, x, read(u, "list", "", "", "spec.nodeName=n1"), true)
		if !strings.Contains(got, "spec.nodeName") || !strings.Contains(got, "n1") {
			t.Errorf("judged %s", got)
		}
	}
	// Of nodes is known what they may not.
	if n := j.asked.Load(); n != 3 {
		t.Errorf("asked %d times", n)
	}
	mustBe(t, x, read(alice, "list", "", "", ""), false)
}

func TestWhoMayListAllIsNotAskedForWithEachSelector(t *testing.T) {
	j := &judge{verdict: allow}
	x, _ := testAccess(t, j, true)
	for i := range 10 {
		mustBe(t, x, read(alice, "list", "", "", fmt.Sprint("spec.nodeName=n", i)), true)
	}
	if n := j.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// In another namespace, or with another verb, or by name, it is another question.
	mustBe(t, x, read(alice, "list", "a", "", "spec.nodeName=n1"), true)
	mustBe(t, x, read(alice, "watch", "", "", "spec.nodeName=n1"), true)
	mustBe(t, x, read(alice, "list", "", "p", "metadata.name=p"), true)
	if n := j.asked.Load(); n != 4 {
		t.Errorf("asked %d times", n)
	}
}

// BenchmarkAllowed is what a permission costs each read that is remembered: one question
// for a node, and as many for who may list all.
func BenchmarkAllowed(b *testing.B) {
	node := &user.DefaultInfo{Name: "system:node:node-1234", Groups: []string{user.NodesGroup, "system:authenticated"}}
	x, err := newAccess(&judge{verdict: allow}, time.Minute, clocktesting.NewFakeClock(time.Unix(1_000_000, 0)), func() bool { return true })
	if err != nil {
		b.Fatal(err)
	}
	a := read(node, "list", "", "", "spec.nodeName=node-1234")
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := x.allowed(b.Context(), a); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
