package limits

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const someConfigMaps = "/api/v1/namespaces/default/configmaps"

// TestRefusalTellsWhoWhyAndWhenToComeBack reads a refusal as client-go and as
// anybody does.
func TestRefusalTellsWhoWhyAndWhenToComeBack(t *testing.T) {
	g := solo(t)
	newOperator(t, g).limit("tell", `{match: {clients: {userAgents: [teller]}, requests: [{verbs: [list], resources: [configmaps]}]}, qps: "0.01", burst: 1}`, g)
	c := adminClient(t, g, "teller/1.0")
	c.passes(t, http.MethodGet, someConfigMaps, "")
	seen := map[string]bool{}
	for range 10 {
		a := c.refused(t, "ratelimit/tell", http.StatusTooManyRequests, http.MethodGet, someConfigMaps, "")
		after := a.header.Get("Retry-After")
		seen[after] = true
		s := a.status
		if s.Kind != "Status" || s.Status != metav1.StatusFailure || s.Code != 429 || s.Reason != metav1.StatusReasonTooManyRequests ||
			s.Details == nil || strconv.Itoa(int(s.Details.RetryAfterSeconds)) != after {
			t.Fatalf("Retry-After %q, and %+v with details %+v", after, s, s.Details)
		}
		for _, word := range []string{`"tell"`, "list configmaps", `"teller"`, "0.01 per second", "1 at once", "in " + after + " s"} {
			if !strings.Contains(s.Message, word) {
				t.Errorf("%q is not in the message: %s", word, s.Message)
			}
		}
	}
	// Clients that are refused together must not come back together.
	if len(seen) < 2 {
		t.Errorf("Retry-After was always one of %v", seen)
	}
	// Other requests of the client, and the same of others, are free.
	c.passes(t, http.MethodGet, "/api/v1/namespaces/default", "")
	adminClient(t, g, "teller-2/1.0").passes(t, http.MethodGet, someConfigMaps, "")

	for _, contentType := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
		config := g.RESTConfig()
		config.UserAgent, config.ContentType, config.AcceptContentTypes = "teller/1.0", contentType, contentType
		k := kubernetesClient(t, config)
		err := k.CoreV1().RESTClient().Get().Namespace("default").Resource("configmaps").MaxRetries(0).Do(t.Context()).Error()
		if seconds, ok := apierrors.SuggestsClientDelay(err); !apierrors.IsTooManyRequests(err) || !ok || seconds < 1 {
			t.Errorf("client-go with %s understands %d, %t: %v", contentType, seconds, ok, err)
		}
		var status apierrors.APIStatus
		if !errors.As(err, &status) || !strings.Contains(status.Status().Message, `RateLimit "tell"`) {
			t.Errorf("client-go with %s does not name the limit: %v", contentType, err)
		}
	}
	// By itself client-go comes back until it is let in.
	newOperator(t, g).limit("patience", `{match: {clients: {userAgents: [patient]}}, qps: 1, burst: 1}`, g)
	k := clientset(t, g, "patient/1.0")
	for range 2 {
		if _, err := k.CoreV1().Namespaces().Get(within(t, 20*time.Second), "default", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	}
	if n := metric(t, g, decision("patience", "refused")); n == 0 {
		t.Error("the patient client was never refused")
	}
}

// TestFloodOfBadTokensEndsBeforeAuthentication sends tokens that nobody knows, each
// once: to look at one costs a kube-apiserver a TokenReview.
func TestFloodOfBadTokensEndsBeforeAuthentication(t *testing.T) {
	const flood, burst = 500, 5
	g := solo(t)
	newOperator(t, g).limit("bad-tokens", fmt.Sprintf(`{match: {clients: {userAgents: [flooder]}}, qps: 1, burst: %d}`, burst), g)
	const reviews = `asi_gateway_token_authentications_total{source="review"}`
	before, audited := metric(t, g, reviews), tokenReviews(t)
	c := newClient(t, rest.AnonymousClientConfig(g.RESTConfig()), "flooder/1.0", "")
	begun := time.Now()
	codes := map[int]int{}
	for i := range flood {
		c.token = fmt.Sprintf("nobody-knows-%d", i)
		a := c.mustDo(t, http.MethodGet, someConfigMaps, "")
		codes[a.code]++
		if a.code == http.StatusTooManyRequests && (a.refusedBy() != "ratelimit/bad-tokens" || a.header.Get("Retry-After") == "") {
			t.Fatalf("refused by %q, Retry-After %q", a.refusedBy(), a.header.Get("Retry-After"))
		}
	}
	most := burst + int(time.Since(begun).Seconds()) + 1
	asked, seen := int(metric(t, g, reviews)-before), tokenReviews(t)-audited
	t.Logf("%d requests with bad tokens: answers %v, TokenReviews: %d sent, %d in the audit log", flood, codes, asked, seen)
	if codes[401]+codes[429] != flood || codes[401] == 0 || codes[401] > most {
		t.Errorf("answers %v; want at most %d 401, the others 429", codes, most)
	}
	if asked > codes[401] || seen > codes[401] || seen == 0 {
		t.Errorf("%d TokenReviews were sent, %d arrived, for %d requests that passed the limit", asked, seen, codes[401])
	}
}

// tokenReviews counts those in the kube-apiserver's audit log.
func tokenReviews(t *testing.T) (n int) {
	t.Helper()
	file, err := os.Open(fixture.Shared(t, theCluster).AuditLog("main-0"))
	must(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var event auditv1.Event
		if json.Unmarshal(lines.Bytes(), &event) == nil && event.ObjectRef != nil && event.ObjectRef.Resource == "tokenreviews" {
			n++
		}
	}
	must(t, lines.Err())
	return n
}

// TestModesCountAndRefuseWhatTheySay sends the same to a limit in each mode.
func TestModesCountAndRefuseWhatTheySay(t *testing.T) {
	g := solo(t)
	o := newOperator(t, g)
	const sent = 10
	for _, mode := range []struct {
		name                           string
		admitted, refused, wouldRefuse float64
	}{{"Enforce", 1, sent - 1, 0}, {"DryRun", 1, 0, sent - 1}, {"Off", 0, 0, 0}} {
		name := "mode-" + strings.ToLower(mode.name)
		o.limit(name, fmt.Sprintf(`{match: {clients: {userAgents: [%s]}}, qps: "0.001", burst: 1, mode: "%s"}`, name, mode.name), g)
		c := adminClient(t, g, name)
		refused := 0
		for range sent {
			if a := c.mustDo(t, http.MethodGet, "/version", ""); a.code == http.StatusTooManyRequests {
				refused++
			} else if a.code != http.StatusOK {
				t.Fatalf("%s: %d", mode.name, a.code)
			}
		}
		for what, want := range map[string]float64{"admitted": mode.admitted, "refused": mode.refused, "would_refuse": mode.wouldRefuse} {
			if got := metric(t, g, decision(name, what)); got != want {
				t.Errorf("%s: %v %s, want %v", mode.name, got, what, want)
			}
		}
		if refused != int(mode.refused) {
			t.Errorf("%s: clients were refused %d times, want %v", mode.name, refused, mode.refused)
		}
	}
}

// TestKeysKeepClientsApart gives each value of a key a bucket of its own.
func TestKeysKeepClientsApart(t *testing.T) {
	g := solo(t)
	o := newOperator(t, g)
	admin := g.RESTConfig()
	alice, bob := userConfig(t, g, "alice", "system:masters"), userConfig(t, g, "bob", "system:masters")
	const inDefault, inSystem = "/api/v1/namespaces/default/services", "/api/v1/namespaces/kube-system/services"
	for _, key := range []struct {
		name       string
		one, other *client
		paths      [2]string
	}{
		{"UserAgent", newClient(t, admin, "key-useragent-1/1", ""), newClient(t, admin, "key-useragent-2/1", ""), [2]string{inDefault, inDefault}},
		{"User", newClient(t, alice, "key-user-1/1", ""), newClient(t, bob, "key-user-1/1", ""), [2]string{inDefault, inDefault}},
		{"Namespace", newClient(t, admin, "key-namespace-1/1", ""), newClient(t, admin, "key-namespace-1/1", ""), [2]string{inDefault, inSystem}},
		{"SourceIP", newClient(t, admin, "key-sourceip-1/1", ""), newClient(t, admin, "key-sourceip-1/1", "127.0.0.9"), [2]string{inDefault, inDefault}},
	} {
		name := "key-" + strings.ToLower(key.name)
		o.limit(name, fmt.Sprintf(`{match: {clients: {userAgents: ["%s-*"]}}, per: [%s], qps: "0.001", burst: 2}`, name, key.name), g)
		for i, c := range []*client{key.one, key.other} {
			c.passes(t, http.MethodGet, key.paths[i], "")
			c.passes(t, http.MethodGet, key.paths[i], "")
			c.refused(t, "ratelimit/"+name, http.StatusTooManyRequests, http.MethodGet, key.paths[i], "")
		}
	}
}

// TestRequestsUnderWayAreCapped holds writes open by their bodies. Watches are
// under way until they have begun.
func TestRequestsUnderWayAreCapped(t *testing.T) {
	g := solo(t)
	namespace := newNamespace(t)
	newOperator(t, g).limit("slow", `{match: {clients: {userAgents: [slow]}}, qps: 1000, burst: 1000, maxInFlight: 2}`, g)
	c := adminClient(t, g, "slow/1.0")
	path := "/api/v1/namespaces/" + namespace + "/configmaps"

	type result struct {
		code int
		err  error
	}
	var bodies []*io.PipeWriter
	results := make(chan result, 2)
	for i := range 2 {
		body, write := io.Pipe()
		bodies = append(bodies, write)
		go func() {
			response, err := c.request(context.WithoutCancel(t.Context()), http.MethodPost, path, body)
			if err != nil {
				results <- result{0, err}
				return
			}
			response.Body.Close()
			results <- result{response.StatusCode, nil}
		}()
		_, err := fmt.Fprintf(write, `{"metadata":{"name":"slow-%d"}`, i)
		must(t, err)
	}
	const underWay = `asi_gateway_limiter_in_flight{rule="slow"}`
	inFlight := func(want float64) {
		t.Helper()
		eventually(t, 10*time.Second, func(ctx context.Context) error {
			metrics, err := g.Metrics(ctx)
			if err == nil && metrics[underWay] != want {
				return fmt.Errorf("%v under way, want %v", metrics[underWay], want)
			}
			return err
		})
	}
	inFlight(2)
	a := c.refused(t, "ratelimit/slow", http.StatusTooManyRequests, http.MethodGet, path, "")
	if !strings.Contains(a.status.Message, "may have 2 under way at a time") {
		t.Errorf("the message is %q", a.status.Message)
	}
	for i, write := range bodies {
		_, err := io.WriteString(write, "}")
		must(t, errors.Join(err, write.Close()))
		if r := <-results; r.code != http.StatusCreated {
			t.Errorf("the slow write was answered %d, %v", r.code, r.err)
		}
		inFlight(float64(1 - i))
	}
	// More watches than slots, all open at once.
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		response, err := c.request(ctx, http.MethodGet, path+"?watch=true&timeoutSeconds=30", nil)
		must(t, err)
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("a watch was answered %s", response.Status)
		}
		if _, err := bufio.NewReader(response.Body).ReadBytes('\n'); err != nil {
			t.Fatalf("a watch has no first event: %v", err)
		}
		inFlight(0)
	}
	c.passes(t, http.MethodGet, path, "")
}

// TestUnknownClientIsWhoClaimsToBeKnown forges the user agent of a class that
// expects an identity.
func TestUnknownClientIsWhoClaimsToBeKnown(t *testing.T) {
	g := solo(t)
	o := newOperator(t, g)
	o.apply("ClientClass", "forged-payments", `{match: {clients: {userAgents: [payments]}}, priority: P1, expectedIdentities: {users: [payments]}}`)
	// The limit needs the class, so it stands behind authentication.
	o.limit("forged-unknown", `{match: {clients: {classes: [unknown], userAgents: ["payments"]}}, qps: "0.001", burst: 3}`, g)
	real := newClient(t, userConfig(t, g, "payments", "system:masters"), "payments/1.0", "")
	forged := newClient(t, userConfig(t, g, "mallory", "system:masters"), "payments/1.0", "")
	const mismatches = `asi_gateway_class_mismatches_total{class="forged-payments"}`
	// The class is in force once a forged request is counted.
	eventually(t, 5*time.Second, func(ctx context.Context) error {
		if _, err := real.do(ctx, http.MethodGet, "/version", ""); err != nil {
			return err
		}
		if len(logged(t, g, `"class":"forged-payments"`)) == 0 {
			return errors.New("no request was of the class")
		}
		return nil
	})
	before := metric(t, g, mismatches)
	for range 3 {
		// What it has been counted for in the meantime is not known.
		if a := forged.mustDo(t, http.MethodGet, "/version", ""); a.code != http.StatusOK && a.code != http.StatusTooManyRequests {
			t.Errorf("the forged client was answered %d", a.code)
		}
	}
	a := forged.refused(t, "ratelimit/forged-unknown", http.StatusTooManyRequests, http.MethodGet, "/version", "")
	if !strings.Contains(a.status.Message, `"payments"`) {
		t.Errorf("the message is %q", a.status.Message)
	}
	if n := metric(t, g, mismatches) - before; n != 4 {
		t.Errorf("%v of 4 forged requests were counted", n)
	}
	for range 10 {
		real.passes(t, http.MethodGet, "/version", "")
	}
	must(t, o.remove(t.Context(), "RateLimit", "forged-unknown"))
	o.apply("Switch", "forged-shed", `{type: ShedPriority, shedPriority: {priority: P4}, duration: 1m, reason: only who is known}`)
	eventually(t, 5*time.Second, func(context.Context) error {
		return forged.expects("switch/forged-shed", http.StatusTooManyRequests, http.MethodGet, "/version", "")
	})
	real.passes(t, http.MethodGet, "/version", "")
	if n := metric(t, g, mismatches) - before; n < 5 {
		t.Errorf("%v forged requests were counted", n)
	}
}
