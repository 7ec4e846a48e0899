package attack

import (
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	bulkObjects = 60
	bulkBytes   = 512 << 10
)

// seedBulk makes config maps of some 30 MB, in a namespace of their own that the
// test's end deletes them from.
func seedBulk(t *testing.T, s *stage) string {
	t.Helper()
	ctx := t.Context()
	ns, err := s.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "bulk-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	maps := s.admin.CoreV1().ConfigMaps(ns.Name)
	data := map[string]string{"data": strings.Repeat("x", bulkBytes)}
	failed := make(chan error, bulkObjects)
	places := make(chan struct{}, 4)
	for i := range bulkObjects {
		places <- struct{}{}
		go func() {
			defer func() { <-places }()
			_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bulk-%d", i)}, Data: data}, metav1.CreateOptions{})
			failed <- err
		}()
	}
	for range bulkObjects {
		if err := <-failed; err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Error(err)
		}
	})
	return ns.Name
}

// deaf opens a connection, sends a GET, and reads nothing.
func (s *side) deaf(path string, http2 bool) func(ctx context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		if http2 {
			c, err := s.openH2(ctx, "admin")
			if err != nil {
				return nil, err
			}
			return c, c.headers(1, true, field{":method", "GET"}, field{":scheme", "https"}, field{":authority", "x"}, field{":path", path})
		}
		conn, err := s.dial(ctx, "admin", "http/1.1")
		if err != nil {
			return nil, err
		}
		_, err = io.WriteString(conn, head("", "GET "+path+" HTTP/1.1", host))
		return conn, err
	}
}

// TestClientsThatNeverReadAreCutOff has 50 clients ask for 30 MB each, and
// watches of changing objects, and read nothing.
func TestClientsThatNeverReadAreCutOff(t *testing.T) {
	s := theStage(t)
	ns := seedBulk(t, s)
	list := "/api/v1/namespaces/" + ns + "/configmaps?resourceVersion=0"
	for _, side := range s.through {
		for _, protocol := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(side.name+" lists over "+protocol, func(t *testing.T) {
				baseline := side.baseline(t)
				stop := side.watchMemory(t)
				c := gather(t, 25, side.deaf(list, protocol == "HTTP/2"))
				cutOff(t, side, baseline, c, protocol, bulkObjects*bulkBytes)
				memoryStays(t, side, stop(), 200)
			})
		}
		t.Run(side.name+" watches", func(t *testing.T) {
			baseline := side.baseline(t)
			stop := side.watchMemory(t)
			c := gather(t, 20, side.deaf("/api/v1/namespaces/"+ns+"/configmaps?watch=1&allowWatchBookmarks=true", false))
			churn := churning(t, s, ns)
			cutOff(t, side, baseline, c, "HTTP/1.1", 1<<40)
			churn()
			memoryStays(t, side, stop(), 200)
		})
	}
}

// cutOff waits until the requests of clients that do not read are gone from the
// gateway, and then reads what had come, to see that it was not everything.
func cutOff(t *testing.T, side *side, baseline map[string]float64, c *crowd, protocol string, everything int64) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		now, err := side.gauges(t.Context())
		if err == nil && now[inFlight] == baseline[inFlight] {
			return errNotYet("no request has come")
		}
		return err
	})
	start := time.Now()
	eventually(t, 60*time.Second, func() error {
		now, err := side.gauges(t.Context())
		if err == nil && now[inFlight] > baseline[inFlight] {
			return errNotYet(fmt.Sprintf("%v requests in flight", now[inFlight]))
		}
		return err
	})
	t.Logf("all requests were gone after %s", time.Since(start).Round(100*time.Millisecond))
	for i, conn := range c.conns {
		if protocol == "HTTP/2" {
			// The stream is reset; the connection may stay.
			_ = conn.Close()
			continue
		}
		n, err := endsWithin(conn, answerTimeout)
		if err != nil || n >= everything {
			t.Errorf("client %d got %d bytes, %v; want an end before all %d", i, n, err, everything)
		}
	}
	side.settles(t, baseline)
}

// churning rewrites large objects until the function it returns is called.
func churning(t *testing.T, s *stage, ns string) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		for i := 0; ctx.Err() == nil && i < 400; i++ {
			_, err := s.admin.CoreV1().ConfigMaps(ns).Update(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bulk-%d", i%bulkObjects)},
				Data:       map[string]string{"data": strings.Repeat("y", bulkBytes), "turn": fmt.Sprint(i)},
			}, metav1.UpdateOptions{})
			if err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}
