package limiter

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"k8s.io/client-go/util/cert"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// server is a redis-server of the test, without persistence.
type server struct {
	t       *testing.T
	socket  string
	process *exec.Cmd
}

func startRedis(t *testing.T) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server is not installed (Debian package redis-server): ", err)
	}
	s := &server{t: t, socket: filepath.Join(t.TempDir(), "s")}
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	s.process = exec.Command("redis-server", "--port", "0", "--unixsocket", s.socket, "--save", "", "--appendonly", "no", "--dir", filepath.Dir(s.socket))
	s.process.Stderr = os.Stderr
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	client := s.client()
	defer client.Close()
	eventually(s.t, "redis-server answers", func() bool { return client.Ping(context.Background()).Err() == nil })
}

func (s *server) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

func (s *server) signal(sig syscall.Signal) {
	if err := s.process.Process.Signal(sig); err != nil {
		s.t.Error(err)
	}
}

func (s *server) client() *redis.Client {
	return redis.NewClient(&redis.Options{Network: "unix", Addr: s.socket, MaxRetries: -1})
}

// age makes it look as if Redis' memory had begun long ago.
func (s *server) age() {
	client := s.client()
	defer client.Close()
	if err := client.Set(context.Background(), DefaultRedisPrefix+"epoch", 1, 0).Err(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) counters() *Redis {
	s.t.Helper()
	r, err := NewRedis(RedisConfig{URL: "unix://" + s.socket, Prefix: DefaultRedisPrefix})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = r.Close() })
	return r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not in time: ", what)
		}
	}
}

// replicas are Limiters that run and share counters.
type replicas []*Limiter

func startReplicas(t *testing.T, s *server, n int, objects ...*v1alpha1.RateLimit) replicas {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var all replicas
	var running sync.WaitGroup
	for i := range n {
		l, err := New(Config{Clock: clock.RealClock{}, Shared: s.counters(), Replica: fmt.Sprint("replica-", i)})
		if err != nil {
			t.Fatal(err)
		}
		l.Update(objects, 1)
		running.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		all = append(all, l)
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	all.settle(t, n)
	return all
}

// settle waits until all know of each other.
func (all replicas) settle(t *testing.T, n int) {
	t.Helper()
	eventually(t, "all replicas in touch with Redis", func() bool {
		for _, l := range all {
			if st := l.global.status.Load(); st.away || st.replicas != n {
				return false
			}
		}
		return true
	})
}

// load is requests of one client at some replicas.
type load struct {
	client string
	// perSecond are the requests at each replica.
	perSecond []int
	// senders is how many there are at each replica; decisions may wait, so one
	// sender cannot send more than a lease's round trip lets it.
	senders int

	passed  atomic.Int64
	slowest atomic.Int64
	// stalled is the longest time for which the machine let nothing run.
	stalled atomic.Int64
	start   time.Time
}

// send sends until ctx ends.
func (o *load) send(ctx context.Context, all replicas) {
	const interval = 5 * time.Millisecond
	o.start = time.Now()
	var senders sync.WaitGroup
	senders.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for last := time.Now(); ctx.Err() == nil; last = time.Now() {
			<-tick.C
			o.stalled.Store(max(o.stalled.Load(), int64(time.Since(last))))
		}
	})
	for i, l := range all {
		for range o.senders {
			senders.Go(func() {
				a := attributes(o.client, "")
				tick := time.NewTicker(interval)
				defer tick.Stop()
				sent, begin := 0, time.Now()
				for {
					select {
					case <-ctx.Done():
						return
					case now := <-tick.C:
						for due := int(now.Sub(begin).Seconds() * float64(o.perSecond[i]) / float64(o.senders)); sent < due; sent++ {
							o.one(l, a)
						}
					}
				}
			})
		}
	}
	senders.Wait()
}

func (o *load) one(l *Limiter, a *request.Attributes) {
	var ticket Ticket
	begin := time.Now()
	d := l.Admit(BeforeAuthentication, a, &ticket)
	took := int64(time.Since(begin))
	ticket.Done()
	if d.Allowed {
		o.passed.Add(1)
	}
	for {
		slowest := o.slowest.Load()
		if took <= slowest || o.slowest.CompareAndSwap(slowest, took) {
			return
		}
	}
}

// check compares what has passed with the bound.
func (o *load) check(t *testing.T, qps, burst, atLeast, extra float64) {
	t.Helper()
	passed, seconds := float64(o.passed.Load()), time.Since(o.start).Seconds()
	bound := qps*seconds + burst
	slowest := time.Duration(o.slowest.Load())
	t.Logf("%s: %.0f passed in %.2f s, %.2f%% of the bound %.1f (%+.0f); slowest decision %v", o.client, passed, seconds, 100*passed/bound, bound, passed-bound, slowest)
	if passed > bound+extra {
		t.Errorf("%s: more than %.1f passed: %.0f", o.client, bound+extra, passed)
	}
	// A token is whole or not there.
	if passed < atLeast*bound-1 {
		t.Errorf("%s: less than %v of %.1f passed: %.0f", o.client, atLeast, bound, passed)
	}
	// The rest is for a machine that is busy: a wait has several steps.
	if stalled := time.Duration(o.stalled.Load()); slowest > maxWait+50*time.Millisecond+3*stalled {
		t.Errorf("%s: a decision took %v, although nothing stalled for more than %v", o.client, slowest, stalled)
	}
}

func runLoads(ctx context.Context, all replicas, loads ...*load) {
	var sending sync.WaitGroup
	for _, o := range loads {
		sending.Go(func() { o.send(ctx, all) })
	}
	sending.Wait()
}

func testDuration() time.Duration {
	if os.Getenv("ASI_SOAK") == "1" {
		return 30 * time.Second
	}
	return 5 * time.Second
}

func only(client string) option {
	return clients(v1alpha1.ClientMatch{UserAgents: []string{client}})
}

func TestGlobalLimitIsExact(t *testing.T) {
	for name, split := range map[string][3]int{"even": {33, 33, 34}, "uneven": {90, 5, 5}} {
		t.Run(name, func(t *testing.T) {
			s := startRedis(t)
			s.age()
			var objects []*v1alpha1.RateLimit
			var loads []*load
			rates := []int{5, 100, 2000}
			for _, qps := range rates {
				client := fmt.Sprint("client-", qps)
				objects = append(objects, rateLimit(client, fmt.Sprint(qps), only(client), globally(v1alpha1.FailShare)))
				o := &load{client: client, senders: 4}
				for _, percent := range split {
					o.perSecond = append(o.perSecond, max(1, 20*qps*percent/100))
				}
				loads = append(loads, o)
			}
			all := startReplicas(t, s, 3, objects...)
			ctx, cancel := context.WithTimeout(t.Context(), testDuration())
			defer cancel()
			runLoads(ctx, all, loads...)
			for i, qps := range rates {
				loads[i].check(t, float64(qps), float64(qps), 0.99, 0)
			}
		})
	}
}

func TestOutagesOfRedisAddNothing(t *testing.T) {
	// The default burst, and one that is full again long before the outage ends.
	const qps = 300
	bursts := []int32{qps, 60}
	for name, outage := range map[string]struct{ begin, end func(*server) }{
		"killed": {(*server).kill, (*server).start},
		"frozen": {func(s *server) { s.signal(syscall.SIGSTOP) }, func(s *server) { s.signal(syscall.SIGCONT) }},
	} {
		t.Run(name, func(t *testing.T) {
			s := startRedis(t)
			s.age()
			var objects []*v1alpha1.RateLimit
			var loads []*load
			for _, n := range bursts {
				client := fmt.Sprint("burst-", n)
				objects = append(objects, rateLimit(client, fmt.Sprint(qps), burst(n), only(client), globally(v1alpha1.FailShare)))
				loads = append(loads, &load{client: client, senders: 2, perSecond: []int{2000, 1000, 1000}})
			}
			all := startReplicas(t, s, 3, objects...)
			ctx, cancel := context.WithCancel(t.Context())
			var faults sync.WaitGroup
			faults.Go(func() {
				defer cancel()
				const outages = 2
				pause := time.NewTicker(testDuration() / (2*outages + 1))
				defer pause.Stop()
				for k := range outages {
					<-pause.C
					outage.begin(s)
					<-pause.C
					for _, l := range all {
						if !l.global.status.Load().away {
							t.Error("a replica has not noticed that Redis is away")
						}
					}
					// Replicas have come back one by one from the outages before.
					extra := float64(k) * qps * 2 / 3 * (probeInterval + callTimeout).Seconds()
					for i, n := range bursts {
						loads[i].check(t, qps, float64(n), 0.4, extra)
					}
					outage.end(s)
				}
				<-pause.C
			})
			runLoads(ctx, all, loads...)
			faults.Wait()
			// With the debts paid, two outages have added nothing.
			for i, n := range bursts {
				loads[i].check(t, qps, float64(n), 0.4, 0)
			}
		})
	}
}

func TestFailurePolicies(t *testing.T) {
	s := startRedis(t)
	s.age()
	all := startReplicas(t, s, 1,
		rateLimit("allow", "1", only("allow"), globally(v1alpha1.FailAllow)),
		rateLimit("refuse", "1000", only("refuse"), globally(v1alpha1.FailRefuse)))
	l := all[0]
	var ticket Ticket
	s.kill()
	eventually(t, "noticed", func() bool { return l.global.status.Load().away })
	for range 100 {
		if !l.Admit(BeforeAuthentication, attributes("allow", ""), &ticket).Allowed {
			t.Fatal("refused")
		}
		ticket.Refund()
	}
	if d := l.Admit(BeforeAuthentication, attributes("refuse", ""), &ticket); d.Allowed || d.Reason != NoCounters {
		t.Errorf("%+v", d)
	}
	if live, _ := l.Live("refuse"); !live.Fallback {
		t.Error("live counters do not tell of the fallback")
	}
}

func TestGlobalKeysAreCountedTogetherAndApart(t *testing.T) {
	s := startRedis(t)
	s.age()
	all := startReplicas(t, s, 2, rateLimit("a", "0.01", burst(3), per(v1alpha1.PerUserAgent), globally(v1alpha1.FailShare)))
	for _, client := range []string{"x", "y"} {
		passed := 0
		for i := range 10 {
			var ticket Ticket
			if all[i%2].Admit(BeforeAuthentication, attributes(client, ""), &ticket).Allowed {
				passed++
			}
			ticket.Done()
		}
		if passed != 3 {
			t.Errorf("%s: %d passed, want 3", client, passed)
		}
	}
}

func TestRefundOfALeasedToken(t *testing.T) {
	s := startRedis(t)
	s.age()
	all := startReplicas(t, s, 1, rateLimit("a", "0.01", burst(1), globally(v1alpha1.FailShare)))
	for range 5 {
		var ticket Ticket
		if d := all[0].Admit(BeforeAuthentication, attributes("x", ""), &ticket); !d.Allowed {
			t.Fatal("refused although all before gave their token back")
		}
		ticket.Refund()
	}
}

func TestIdleLeasesAreGivenBack(t *testing.T) {
	s := startRedis(t)
	s.age()
	all := startReplicas(t, s, 1, rateLimit("a", "0.001", burst(100), globally(v1alpha1.FailShare)))
	b := all[0].snapshot.Load().states["a"].table.Load().single
	var ticket Ticket
	all[0].Admit(BeforeAuthentication, attributes("x", ""), &ticket)
	ticket.Refund()
	client := s.client()
	defer client.Close()
	eventually(t, "100 tokens in Redis", func() bool {
		tokens, _ := client.HGet(t.Context(), DefaultRedisPrefix+"bucket:"+b.lease.key, "tokens").Float64()
		return tokens >= 100
	})
}

func TestEmptyRedisGivesNoBurst(t *testing.T) {
	s := startRedis(t)
	all := startReplicas(t, s, 1, rateLimit("a", "0.001", burst(100), globally(v1alpha1.FailShare)))
	var ticket Ticket
	if d := all[0].Admit(BeforeAuthentication, attributes("x", ""), &ticket); d.Allowed || d.RetryAfter < 10*time.Minute {
		t.Errorf("%+v", d)
	}
}

// TestLeaseScript has one case for each thing that the script tells apart. Times
// are seconds before the call; rates are such that a second more or less of the
// test's own time changes nothing.
func TestLeaseScript(t *testing.T) {
	s := startRedis(t)
	r, client := s.counters(), s.client()
	defer client.Close()
	const never = -1
	for i, tc := range []struct {
		name string
		// The state: tokens at that many seconds ago.
		tokens, at float64
		epoch      float64
		request    LeaseRequest
		// seen is in seconds ago.
		seen float64
		want int
	}{
		{name: "flows in", tokens: 5, at: 1000, want: 15},
		{name: "up to the burst", tokens: 5, at: 100000, want: 100},
		{name: "missing and old", at: never, epoch: 1e9, want: 100},
		{name: "missing in a young Redis", at: never, epoch: 2000, want: 20},
		{name: "lost", at: never, epoch: 1e9, seen: 3000, want: 30},
		{name: "older than seen", tokens: 100, at: 5000, epoch: 1e9, seen: 1000, want: 10},
		{name: "clock set back", tokens: 7, at: -1e6, want: 7},
		{name: "limits were lower", tokens: 0, at: 5000, request: LeaseRequest{Age: 1000 * time.Second, PreviousRate: 0.001, PreviousBurst: 3}, want: 13},
		{name: "was closed", tokens: 100, at: 5000, request: LeaseRequest{Age: 1000 * time.Second}, want: 10},
		{name: "limits changed before", tokens: 50, at: 1000, request: LeaseRequest{Age: 2000 * time.Second}, want: 60},
		{name: "first back", tokens: 10, at: 5000, request: LeaseRequest{Outage: true, OutageFrom: 4000 * time.Second, Failed: 1500 * time.Second, OutageTo: 1000 * time.Second, Owed: 9}, want: 30},
		{name: "first back after two outages", tokens: 10, at: 5000, request: LeaseRequest{Outage: true, OutageFrom: 4000 * time.Second, Failed: 1200 * time.Second, OutageTo: 1000 * time.Second}, want: 30},
		{name: "first back, though not the last to go", tokens: 10, at: 3500, request: LeaseRequest{Outage: true, OutageFrom: 4000 * time.Second, Failed: 1200 * time.Second, OutageTo: 1000 * time.Second, Owed: 9}, want: 20},
		{name: "later back", tokens: 10, at: 1000, request: LeaseRequest{Outage: true, OutageFrom: 4000 * time.Second, Failed: 1500 * time.Second, OutageTo: 500 * time.Second, Owed: 9}, want: 11},
		{name: "first back, with a debt", tokens: 10, at: 5000, request: LeaseRequest{Outage: true, OutageFrom: 4000 * time.Second, Failed: 1500 * time.Second, OutageTo: 1000 * time.Second, Owed: 9, Debt: 8}, want: 22},
		{name: "in debt", tokens: -20, at: 1000, want: 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx := t.Context()
			now := client.Time(ctx).Val().UnixMicro()
			ago := func(seconds float64) int64 { return now - int64(seconds*1e6) }
			q := tc.request
			q.Key, q.Tokens, q.Rate, q.Burst, q.Deadline = fmt.Sprint("case-", i), 1000, 0.01, 100, now+10_000_000
			if q.Age == 0 {
				q.Age = 2e9 * time.Second
			}
			client.Set(ctx, DefaultRedisPrefix+"epoch", ago(tc.epoch), 0)
			if tc.at != never {
				client.HSet(ctx, DefaultRedisPrefix+"bucket:"+q.Key, "tokens", tc.tokens+0.5, "at", ago(tc.at))
			}
			if tc.seen > 0 {
				q.Seen = ago(tc.seen)
			}
			results, err := r.Lease(ctx, []LeaseRequest{q})
			if err != nil {
				t.Fatal(err)
			}
			if results[0].Tokens != tc.want {
				t.Errorf("%d tokens, want %d", results[0].Tokens, tc.want)
			}
			if results[0].Wait <= 0 {
				t.Errorf("wait %v", results[0].Wait)
			}
			q.Deadline = now - 1
			if _, err := r.Lease(ctx, []LeaseRequest{q}); err != errLate {
				t.Errorf("after its deadline: %v", err)
			}
		})
	}
}

func TestAFaultyURLDoesNotTellThePassword(t *testing.T) {
	for _, address := range []string{
		"redis://:opensesame@host:6379/a/b", "redis://:opensesame@host:nope", "redis://:open%sesame@host", "redis://:opensesame",
		"redis://:1/opensesame@host:6379", "http://u:opensesame@host", "redis://:open sesame@host", "redis://:opensesame@host?dial_timeout=x",
	} {
		_, err := NewRedis(RedisConfig{URL: address})
		if err == nil || !strings.Contains(err.Error(), "percent-encoded") {
			t.Errorf("%s: %v", address, err)
			continue
		}
		for _, part := range []string{"open", "sesame", "host:"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error says %s: %v", address, part, err)
			}
		}
	}
	if _, err := NewRedis(RedisConfig{URL: "http://host"}); err == nil || !strings.Contains(err.Error(), "scheme") {
		t.Errorf("of what has no password it is not said what is wrong: %v", err)
	}
}

func TestThePasswordOfAFileMayChange(t *testing.T) {
	s := startRedis(t)
	admin := s.client()
	defer admin.Close()
	demand := func(password string) {
		t.Helper()
		if err := admin.ConfigSet(t.Context(), "requirepass", password).Err(); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	demand("first")
	r, err := NewRedis(RedisConfig{URL: "unix://" + s.socket, PasswordFile: file, Prefix: DefaultRedisPrefix})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, _, err := r.Beat(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	demand("second")
	// Those who are in stay in.
	r.renew(r.client.Load())
	if _, _, err := r.Beat(t.Context(), "a"); err == nil {
		t.Fatal("let in with the old password")
	}
	write("second")
	eventually(t, "it is let in with the new password", func() bool {
		_, _, err := r.Beat(t.Context(), "a")
		return err == nil
	})
}

func TestRedisIsVerifiedByItsCABundle(t *testing.T) {
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(bundle, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	handshakes := make(chan error)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handshakes <- conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
	}()
	for file, want := range map[string]bool{bundle: true, "": false} {
		r, err := NewRedis(RedisConfig{URL: "rediss://" + listener.Addr().String(), CAFile: file})
		if err != nil {
			t.Fatal(err)
		}
		beat := make(chan error, 1)
		go func() {
			_, _, err := r.Beat(t.Context(), "a")
			beat <- err
		}()
		if err := <-handshakes; (err == nil) != want {
			t.Errorf("with the bundle %q: %v", file, err)
		}
		<-beat
		_ = r.Close()
	}
}

func TestFilesOfRedisAreReadAtOnce(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]RedisConfig{
		"no such file":  {URL: "redis://host", PasswordFile: filepath.Join(dir, "none")},
		"is empty":      {URL: "redis://host", PasswordFile: empty},
		"rediss://":     {URL: "redis://host", CAFile: empty},
		"has no PEM":    {URL: "rediss://host", CAFile: empty},
		"CA bundle: op": {URL: "rediss://host", CAFile: filepath.Join(dir, "none")},
	} {
		if _, err := NewRedis(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

func TestNumberOfReplicas(t *testing.T) {
	s := startRedis(t)
	r := s.counters()
	for i, want := range []int{1, 2, 2} {
		if n, _, err := r.Beat(t.Context(), fmt.Sprint("replica-", i%2)); err != nil || n != want {
			t.Errorf("%d replicas, want %d: %v", n, want, err)
		}
	}
	if err := r.Leave(t.Context(), "replica-0"); err != nil {
		t.Error(err)
	}
	if n, _, _ := r.Beat(t.Context(), "replica-1"); n != 1 {
		t.Errorf("%d replicas after one has left", n)
	}
}
