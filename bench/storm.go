package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

const (
	// stormRate is how many clients start in a second: 5,000 within ten.
	stormRate = 500
	// stormWait bounds the time until all have what they need.
	stormWait = 10 * time.Minute
	// stormMemory is what a server may take of the machine's memory, in bytes. A
	// kube-apiserver makes a list of all pods for each client.
	stormMemory = 12 << 30
	// permissionsFor is more than a gateway remembers permissions for.
	permissionsFor = 61 * time.Second
)

// storm has a client of every node start a WatchList of the node's pods, all within
// seconds, as when a DaemonSet is replaced: each wants the newest state.
func (b *cacheBench) storm() scenario {
	s := b.stormOf(b.o.storm, b.gateway)
	s.checks = []check{
		{quantity: upstreamReads, of: gatewayName, most: 49},
		{quantity: upstreamReviews, of: gatewayName, most: float64(b.o.storm)},
	}
	return s
}

// smallStorm is the same of a tenth of the clients, which a kube-apiserver survives at
// any size.
func (b *cacheBench) smallStorm() scenario {
	return b.stormOf((b.o.storm+9)/10, b.direct, b.gateway)
}

// directStorm is the whole storm at the kube-apiserver, which it keeps busy for minutes:
// once has to be enough.
func (b *cacheBench) directStorm() scenario {
	s := b.stormOf(b.o.storm, b.direct)
	s.name, s.once = s.name+", direct", true
	return s
}

func (b *cacheBench) stormOf(n int, servers ...server) scenario {
	s := scenario{name: fmt.Sprintf("restart storm, %d WatchLists by node name, %d/s", n, stormRate), per: "client"}
	for _, server := range servers {
		s.entries = append(s.entries, b.stormAt(server, n))
	}
	return s
}

func (b *cacheBench) stormAt(s server, n int) entry {
	clients := newClients((n+streamsPerConnection-1)/streamsPerConnection, b.tls)
	forgotten := func(ctx context.Context) (func(), error) {
		if s.name != gatewayName {
			return func() {}, nil
		}
		// Who they are and what they may do is known from the turn before for a while.
		return func() {}, wait(ctx, permissionsFor)
	}
	return entry{name: s.name, server: s, before: forgotten, do: func(ctx context.Context) (batch, error) {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go limitMemory(ctx, s, cancel)
		audit, err := openAudit(b.cluster.AuditLog("main-0"))
		if err != nil {
			return batch{}, err
		}
		defer audit.Close()
		start := time.Now()
		total, refused, err := syncAll(ctx, clients, s.url, n)
		if err != nil {
			return batch{}, err
		}
		done := batch{units: n, wall: time.Since(start), bytes: total, refused: refused}
		done.reads, done.reviews, err = countAudit(audit)
		return done, err
	}}
}

// limitMemory ends everything when a server takes more memory than it may.
func limitMemory(ctx context.Context, s server, cancel context.CancelCauseFunc) {
	for wait(ctx, 10*memoryPoll) == nil {
		if n, err := residentBytes(s.pid()); err == nil && n > stormMemory {
			cancel(fmt.Errorf("%s has taken %d MB of memory", s.name, n>>20))
		}
	}
}

// syncAll starts the clients one after another, and returns what all have read until
// the last had its initial events, and how often they were refused before.
func syncAll(ctx context.Context, clients []*http.Client, server string, n int) (total int64, refusals int, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stormWait, fmt.Errorf("%d clients took over %s", n, stormWait))
	var running, synced sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var read, refused, ready atomic.Int64
	// One error is as good as a thousand.
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	start := time.Now()
	for i := range n {
		if err := wait(ctx, time.Until(start.Add(time.Duration(i)*time.Second/stormRate))); err != nil {
			fail(err)
			break
		}
		synced.Add(1)
		running.Go(func() {
			response, err := syncOne(ctx, clients[i%len(clients)], server, cluster.NodeName(i), &read, &refused)
			if err != nil {
				// Why it was cancelled says more than that it was.
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				fail(err)
			} else {
				ready.Add(1)
			}
			synced.Done()
			if err == nil {
				// It watches on, as all of them do.
				<-ctx.Done()
				response.Body.Close()
			}
		})
	}
	synced.Wait()
	select {
	case err = <-failed:
		err = fmt.Errorf("%d of %d clients had all after %s: %w", ready.Load(), n, time.Since(start).Round(time.Second), err)
	default:
	}
	return read.Load(), int(refused.Load()), err
}

// comeAgain is how long a client waits whose watch has ended too soon, about as an
// informer does (client-go tools/cache, the reflector's backoff).
const comeAgain = time.Second

// syncOne reads the initial events of a node's pods and leaves the watch open. When
// it is told to come again, or the watch ends before, it tries once more.
func syncOne(ctx context.Context, client *http.Client, server, node string, read, refused *atomic.Int64) (*http.Response, error) {
	a := ask{watchListPath + "&fieldSelector=spec.nodeName%3D" + node, protobufType, ""}
	for {
		response, err := a.send(ctx, client, server)
		var refusal refusedError
		if errors.As(err, &refusal) {
			refused.Add(1)
			if err := wait(ctx, refusal.after); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		total, err := initialEvents(response.Body)
		read.Add(total)
		if err == nil {
			return response, nil
		}
		response.Body.Close()
		if err != io.EOF {
			return nil, err
		}
		refused.Add(1)
		if err := wait(ctx, comeAgain); err != nil {
			return nil, err
		}
	}
}

// watchListPath is how an informer of today starts.
const watchListPath = "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=600"

// maxBookmark is more than a bookmark has, in bytes.
const maxBookmark = 1000

// initialEvents reads a watch in protobuf up to the end of its initial events, and
// returns the bytes until there.
func initialEvents(r io.Reader) (total int64, err error) {
	var frame []byte
	for {
		if frame, err = readFrame(r, frame); err != nil {
			return total, err
		}
		total += int64(len(frame))
		if len(frame) < maxBookmark && bytes.Contains(frame, []byte("k8s.io/initial-events-end")) {
			return total, nil
		}
	}
}

// openAudit opens an apiserver's audit log behind what is in it.
func openAudit(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// countAudit counts the lists and watches of pods, and the access reviews, that an
// audit log tells of: a watch when it starts, all others when they are over.
func countAudit(r io.Reader) (reads, reviews int, err error) {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if err == io.EOF {
			return reads, reviews, nil
		}
		if err != nil {
			return reads, reviews, err
		}
		has := func(text string) bool { return bytes.Contains(line, []byte(text)) }
		switch {
		case has(`"objectRef":{"resource":"pods"`) && (has(`"verb":"list"`) && has(`"stage":"ResponseComplete"`) || has(`"verb":"watch"`) && has(`"stage":"ResponseStarted"`)):
			reads++
		case has(`"objectRef":{"resource":"subjectaccessreviews"`) && has(`"stage":"ResponseComplete"`):
			reviews++
		}
	}
}
