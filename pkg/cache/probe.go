package cache

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

const (
	// probeName is the name of an object that does not exist: to list it costs
	// upstream the same however many there are (1.3 ms, where a list with limit=1
	// takes 7.5 ms of 20,000 objects).
	probeName = "asi-gateway-probe-of-nothing"
	// probeTimeout bounds a probe; who waits is forwarded then.
	probeTimeout = 3 * time.Second
)

// prober asks upstream for its resource version of now.
//
// A read joins the next probe, not the one that is under way: that may have been
// answered before the read arrived, and a write between would be missed. So one
// probe is under way at a time, and one gathers who comes meanwhile.
type prober struct {
	client    http.RoundTripper
	resource  *Resource
	encoding  wire.Encoding
	userAgent string

	mu      sync.Mutex
	running bool
	next    *probe
}

// probe is one question to upstream and its answer.
type probe struct {
	answered chan struct{}
	rv       uint64
	err      error
}

// now returns a resource version that upstream has told after the call. It is not
// lower than that of any write that was acknowledged before.
func (p *prober) now(ctx context.Context) (uint64, error) {
	p.mu.Lock()
	if p.next == nil {
		p.next = &probe{answered: make(chan struct{})}
		if !p.running {
			p.running = true
			go p.run()
		}
	}
	mine := p.next
	p.mu.Unlock()
	select {
	case <-mine.answered:
		return mine.rv, mine.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run asks as long as somebody waits.
func (p *prober) run() {
	for {
		p.mu.Lock()
		mine := p.next
		p.next = nil
		if mine == nil {
			p.running = false
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		mine.rv, mine.err = p.ask()
		close(mine.answered)
	}
}

func (p *prober) ask() (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	// The namespace need not exist.
	path := p.resource.path("default", "")
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://upstream"+path+"?fieldSelector=metadata.name%3D"+probeName, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Accept", p.encoding.MediaType())
	r.Header.Set("User-Agent", p.userAgent)
	response, err := p.client.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("probing %s: upstream answered %s", path, response.Status)
	}
	meta, err := wire.ReadList(response.Body, &p.resource.Kind, p.encoding, maxObject, func([]byte, *wire.Meta) error { return nil })
	if err != nil {
		return 0, fmt.Errorf("probing %s: %w", path, err)
	}
	return strconv.ParseUint(meta.ResourceVersion, 10, 64)
}
