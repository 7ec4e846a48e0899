package routing

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// server is an apiserver that answers with its name.
func server(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, name+string(body))
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// refused is an address that nobody listens on.
func refused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "https://" + l.Addr().String()
}

func upstream(t *testing.T, groups []*v1alpha1.UpstreamGroup, trust ...*httptest.Server) (*Upstream, *clocktesting.FakeClock) {
	t.Helper()
	roots := x509.NewCertPool()
	for _, s := range trust {
		roots.AddCert(s.Certificate())
	}
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	client := Client{TLS: &tls.Config{RootCAs: roots}}
	u, err := New(Config{Groups: groups, Asserting: client, Own: client, Anonymous: client, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u, clock
}

// mainAndBypass are two groups.
func mainAndBypass(main, bypass []string) []*v1alpha1.UpstreamGroup {
	groups := []*v1alpha1.UpstreamGroup{StaticGroup(v1alpha1.GroupMain, main...)}
	if len(bypass) > 0 {
		groups = append(groups, StaticGroup(v1alpha1.GroupBypass, bypass...))
	}
	return groups
}

func send(t *testing.T, u *Upstream, method, body string, call Call) (string, *Endpoint, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		r.Body = http.NoBody
	}
	response, e, err := u.RoundTrip(r, call)
	if err != nil {
		return "", e, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), e, nil
}

func post(t *testing.T, u *Upstream) (string, *Endpoint, error) {
	t.Helper()
	return send(t, u, http.MethodPost, "!", Call{})
}

func TestWriteMovesOnWhenNothingWasSent(t *testing.T) {
	b := server(t, "b")
	plain := httptest.NewServer(http.NotFoundHandler()) // speaks no TLS
	defer plain.Close()
	for name, dead := range map[string]string{
		"connection refused": refused(t),
		"handshake failed":   "https://" + plain.Listener.Addr().String(),
	} {
		t.Run(name, func(t *testing.T) {
			u, _ := upstream(t, mainAndBypass([]string{dead, b.URL}, nil), b)
			// The dead one is drawn among them, by all odds.
			for range 64 {
				if body, _, err := post(t, u); err != nil || body != "b!" {
					t.Fatalf("answer %q, error %v", body, err)
				}
			}
			if state, _, _ := u.Endpoints()[0].health.describe(time.Unix(1000, 0)); state != v1alpha1.EndpointDown {
				t.Errorf("the dead server is %s", state)
			}
		})
	}
}

// A client that sends its body slowly must not have the server taken for slow.
func TestSlowBodySaysNothingAboutTheServer(t *testing.T) {
	s := server(t, "a")
	u, clock := upstream(t, mainAndBypass([]string{s.URL}, nil), s)
	e := u.Endpoints()[0]
	roundTrip := func(body io.Reader, getBody func() (io.ReadCloser, error)) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/", body)
		if err != nil {
			t.Fatal(err)
		}
		r.GetBody = getBody
		response, _, err := u.RoundTrip(r, Call{Lane: Short})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}
	reader, writer := io.Pipe()
	go func() {
		_, _ = writer.Write([]byte("a"))
		clock.Step(time.Minute)
		writer.Close()
	}()
	roundTrip(reader, nil)
	if got := e.latency.load(); got != 0 {
		t.Errorf("latency %s after a body that took a minute to come", got)
	}
	// One that is there when the request is sent counts.
	whole := &stepping{strings.NewReader("a"), func() { clock.Step(time.Second) }}
	roundTrip(whole, func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("a")), nil })
	if got := e.latency.load(); got < time.Second {
		t.Errorf("latency %s after an answer that took a second", got)
	}
}

// stepping runs step when it is read for the first time.
type stepping struct {
	io.Reader
	step func()
}

func (s *stepping) Read(p []byte) (int, error) {
	if s.step != nil {
		s.step()
		s.step = nil
	}
	return s.Reader.Read(p)
}

func TestBypassAnswersWhenNoMainServerCanBeDialled(t *testing.T) {
	c := server(t, "c")
	u, clock := upstream(t, mainAndBypass([]string{refused(t), refused(t)}, []string{c.URL}), c)
	if body, e, err := post(t, u); err != nil || body != "c!" || e.Group != "bypass" {
		t.Fatalf("answer %q from %v, error %v", body, e, err)
	}
	// As soon as a probe has found one of main, it serves again.
	u.Endpoints()[0].health.probed(true, "", clock.Now())
	trip := trip{upstream: u, path: &u.table.Load().fallback}
	if g, e := trip.find(clock.Now()); g.name != "main" || e != u.Endpoints()[0] {
		t.Errorf("picked %s", g.name)
	}
}

func TestUnreachable(t *testing.T) {
	u, _ := upstream(t, mainAndBypass([]string{refused(t)}, []string{refused(t)}))
	for range 2 {
		if _, _, err := post(t, u); !errors.Is(err, ErrUnreachable) {
			t.Errorf("error %v", err)
		}
	}
}

// breaking is a server that reads requests and hangs up.
func breaking(t *testing.T) (s *httptest.Server, calls *atomic.Int64) {
	t.Helper()
	calls = &atomic.Int64{}
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		calls.Add(1)
		panic(http.ErrAbortHandler)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, calls
}

func TestWriteThatMayHaveArrivedIsNotSentAgain(t *testing.T) {
	s, calls := breaking(t)
	other := server(t, "other")
	u, _ := upstream(t, mainAndBypass([]string{s.URL}, []string{other.URL}), s, other)
	if _, _, err := post(t, u); err == nil || errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v", err)
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("sent %d times", n)
	}
}

func TestLostReadIsSentOnceMore(t *testing.T) {
	s, calls := breaking(t)
	other := server(t, "other")
	u, _ := upstream(t, mainAndBypass([]string{s.URL}, []string{other.URL}), s, other)
	for _, test := range []struct {
		name   string
		call   Call
		method string
		again  bool
	}{
		{"get", Call{}, http.MethodGet, true},
		{"head", Call{}, http.MethodHead, true},
		{"watch", Call{Lane: Watch}, http.MethodGet, true},
		{"exec by WebSocket", Call{Lane: Upgrade}, http.MethodGet, false},
		{"what a pod makes of it", Call{Attributes: attributes(t, "/api/v1/namespaces/a/pods/b/proxy/x", "", "P0")}, http.MethodGet, false},
		{"logs", Call{Attributes: attributes(t, "/api/v1/namespaces/a/pods/b/log", "", "P0")}, http.MethodGet, true},
	} {
		before := calls.Load()
		_, e, err := send(t, u, test.method, "", test.call)
		if again := err == nil && e.Group == "bypass"; again != test.again || calls.Load() != before+1 {
			t.Errorf("%s: answered by %v, error %v, after %d calls", test.name, e, err, calls.Load()-before)
		}
	}
	// Both lose it: that is enough.
	b, _ := breaking(t)
	u, _ = upstream(t, mainAndBypass([]string{s.URL}, []string{b.URL}), s, b)
	if _, _, err := send(t, u, http.MethodGet, "", Call{}); err == nil {
		t.Error("an answer from nobody")
	}
}

func TestRetriesHaveABudget(t *testing.T) {
	b := newBudget()
	n := 0
	for b.spend() {
		n++
	}
	if n != retryReserve {
		t.Errorf("%d retries at once, want %d", n, retryReserve)
	}
	for range 100 {
		b.earn()
	}
	for n = 0; b.spend(); n++ {
	}
	if n != 20 {
		t.Errorf("%d retries for 100 requests, want 20", n)
	}
}

func TestRenewedConnectionsPresentTheNewCertificate(t *testing.T) {
	var presented atomic.Int64
	a := server(t, "a")
	roots := x509.NewCertPool()
	roots.AddCert(a.Certificate())
	client := Client{TLS: &tls.Config{RootCAs: roots}}
	asserting := client
	asserting.TLS = client.TLS.Clone()
	asserting.TLS.VerifyConnection = func(tls.ConnectionState) error {
		presented.Add(1)
		return nil
	}
	u, err := New(Config{Groups: mainAndBypass([]string{a.URL}, nil), Asserting: asserting, Own: client, Anonymous: client, Clock: clocktesting.NewFakeClock(time.Unix(1000, 0))})
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for i, want := range []int64{1, 1, 2} {
		if i == 2 {
			u.Renew()
		}
		if _, _, err := post(t, u); err != nil {
			t.Fatal(err)
		}
		if got := presented.Load(); got != want {
			t.Errorf("request %d: %d handshakes, want %d", i, got, want)
		}
	}
}

func TestServersAreCheckedAtTheStart(t *testing.T) {
	for _, bad := range []string{"http://a", "https://", "https://a/path", "a:1", "%"} {
		if _, err := New(Config{Groups: mainAndBypass([]string{bad}, nil), Clock: clocktesting.NewFakeClock(time.Unix(0, 0))}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no server at all was accepted")
	}
}
