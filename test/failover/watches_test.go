package failover

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// watchKind is how some clients watch.
type watchKind struct {
	agent, protocol, accept string
	count                   int
}

const (
	jsonEvents     = "application/json"
	protobufEvents = "application/vnd.kubernetes.protobuf;stream=watch"
)

// watchEnd is how a watch has ended.
type watchEnd struct {
	kind watchKind
	when time.Time
	// err is nil for an end of the stream between two events.
	err error
}

// TestWatchesOfADeadServerEndCleanly kills a server under watches through which
// events pass. Each is to end as if its server had ended it, and not all at once:
// their clients come back.
func TestWatchesOfADeadServerEndCleanly(t *testing.T) {
	e := through(t, frontProxy)
	kinds := []watchKind{
		{"agents-json", "h2", jsonEvents, 160},
		{"agents-protobuf", "h2", protobufEvents, 40},
		{"agents-http1", "http/1.1", jsonEvents, 20},
		{"critical-json", "h2", jsonEvents, 40},
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ends := make(chan watchEnd, 1000)
	var opened sync.WaitGroup
	for _, kind := range kinds {
		c := e.client(t, kind.agent, kind.protocol)
		for range kind.count {
			opened.Add(1)
			go func() {
				err := e.watch(ctx, c, kind, opened.Done)
				ends <- watchEnd{kind, time.Now(), err}
			}()
		}
	}
	opened.Wait()
	stop := e.churn(t, 400*time.Millisecond)
	disturbed := e.disturbed(t)
	pause(t, time.Second)
	if len(ends) > 0 {
		t.Fatalf("a watch ended before the kill: %+v", <-ends)
	}
	state, err := e.operator.live(within(t, 10*time.Second), "main")
	must(t, err)
	died := e.kill(t, "main-0")
	dying := int(state.Endpoints[0].LongRunning)
	t.Logf("%d and %d watches are open at the main servers", dying, state.Endpoints[1].LongRunning)
	if dying < 100 || state.Endpoints[1].LongRunning < 100 {
		t.Error("watches are not spread over the servers")
	}

	// The gateway's own watches are among them, and do not end here.
	const own = 10
	first, last := map[watchKind]time.Duration{}, map[watchKind]time.Duration{}
	counts := map[string]int{}
	deadline := time.After(5 * time.Second)
	for n := 0; n < dying; n++ {
		select {
		case end := <-ends:
			if end.err != nil {
				t.Errorf("%s over %s: %v", end.kind.agent, end.kind.protocol, end.err)
			}
			took := end.when.Sub(died.begun)
			if counts[end.kind.agent]++; counts[end.kind.agent] == 1 {
				first[end.kind] = took
			}
			first[end.kind], last[end.kind] = min(first[end.kind], took), max(last[end.kind], took)
			continue
		case <-deadline:
		}
		if n < dying-own {
			t.Fatalf("only %d of %d watches have ended", n, dying)
		}
		break
	}
	stop()
	during := disturbed()
	for _, kind := range kinds {
		t.Logf("%d of %d watches of %s ended, all cleanly, from %s to %s after the kill", counts[kind.agent], kind.count, kind.agent, ms(first[kind]), ms(last[kind]))
		if counts[kind.agent] < kind.count/4 {
			t.Errorf("only %d watches of %s were at the server that died", counts[kind.agent], kind.agent)
		}
	}
	// 2 ms for each watch of the server, by pkg/routing; the control plane is not
	// kept waiting.
	spread := last[kinds[0]] - first[kinds[0]]
	if least := time.Duration(dying) * time.Millisecond; spread < least {
		t.Errorf("%d watches ended within %s, want them spread over at least %s", counts[kinds[0].agent], ms(spread), least)
	}
	inTime(t, "telling the clients of P0", last[kinds[3]], 500*time.Millisecond, during)
	inTime(t, "telling everybody", last[kinds[0]], 2*time.Second, during)
}

// watch opens a watch and reads it to its end.
func (e *env) watch(ctx context.Context, c *client, kind watchKind, opened func()) error {
	response, err := c.open(ctx, http.MethodGet, "/api/v1/namespaces/"+e.namespace+"/configmaps?watch=true&resourceVersion=0", "", "Accept", kind.accept)
	opened()
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || (response.ProtoMajor == 2) != (kind.protocol == "h2") {
		return fmt.Errorf("%s %s", response.Proto, response.Status)
	}
	var between func() bool
	events := io.Reader(response.Body)
	if kind.accept == jsonEvents {
		events, between = linesOf(events)
	} else {
		events, between = framesOf(events)
	}
	if _, err := io.Copy(io.Discard, events); err != nil {
		return fmt.Errorf("no end of the stream: %w", err)
	}
	if !between() {
		return errors.New("the stream ended in the middle of an event")
	}
	return nil
}

// follower looks at bytes as they are read.
type follower struct {
	io.Reader
	see func([]byte)
}

func (f follower) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	f.see(b[:n])
	return n, err
}

// linesOf tells whether what was read of JSON events ends between two of them.
func linesOf(events io.Reader) (io.Reader, func() bool) {
	last := byte('\n')
	return follower{events, func(b []byte) {
		if len(b) > 0 {
			last = b[len(b)-1]
		}
	}}, func() bool { return last == '\n' }
}

// framesOf does so with protobuf events, each behind its length.
func framesOf(events io.Reader) (io.Reader, func() bool) {
	var header []byte
	missing := 0
	return follower{events, func(b []byte) {
		for len(b) > 0 {
			if missing > 0 {
				n := min(missing, len(b))
				missing, b = missing-n, b[n:]
				continue
			}
			header, b = append(header, b[0]), b[1:]
			if len(header) == 4 {
				missing, header = int(binary.BigEndian.Uint32(header)), header[:0]
			}
		}
	}}, func() bool { return missing == 0 && len(header) == 0 }
}
