package failover

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// servers are all of them, by the names of their processes.
var servers = []string{"main-0", "main-1", "bypass-0", "bypass-1"}

// fault is something that was done to servers.
type fault struct {
	what string
	// begun is before it was done. Over is when those whom the servers had let down
	// could know.
	begun, over time.Time
}

const (
	// news is how long it may take until a gateway knows that a connection is dead
	// that the kernel has closed: goroutines of a busy machine have to run.
	news = 200 * time.Millisecond
	// patience is how long any request may wait for a server that is frozen. Machine
	// is added to how long servers stay frozen, and to the time in which answers may
	// still be missing because of that: a busy machine is late to say so.
	patience = 3 * time.Second
	machine  = 300 * time.Millisecond
	// readPatience is the same for reads, which are taken from there.
	readPatience = 2500 * time.Millisecond
)

// kill ends servers at once, all in the same moment.
func (e *env) kill(t *testing.T, names ...string) fault {
	t.Helper()
	f := fault{what: fmt.Sprintf("kill -9 of %v", names), begun: time.Now()}
	var killing errgroup.Group
	for _, name := range names {
		killing.Go(e.Process(name).Kill)
	}
	must(t, killing.Wait())
	f.over = time.Now().Add(news)
	return f
}

// freeze stops servers (SIGSTOP): their connections stay open.
func (e *env) freeze(t *testing.T, names ...string) fault {
	t.Helper()
	f := fault{what: fmt.Sprintf("freezing of %v", names), begun: time.Now()}
	for _, name := range names {
		must(t, e.Process(name).Pause())
	}
	f.over = time.Now().Add(patience + machine)
	return f
}

func (e *env) resume(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, e.Process(name).Resume())
	}
}

// revive starts servers again, and returns when they are ready.
func (e *env) revive(t *testing.T, names ...string) {
	t.Helper()
	ctx := within(t, time.Minute)
	var starting errgroup.Group
	for _, name := range names {
		starting.Go(func() error { return e.Process(name).Start(ctx) })
	}
	must(t, starting.Wait())
}

// host is a server's address, as metrics call it.
func (e *env) host(name string) string { return "127.0.0.1:" + e.Process(name).Port() }
