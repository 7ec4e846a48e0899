package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// fresh is a gateway that is started again and again. It is made when it is first
// needed.
type fresh struct {
	bench   *cacheBench
	gateway *fixture.Gateway
}

func (f *fresh) prepare(ctx context.Context) (err error) {
	if f.gateway == nil {
		f.gateway, err = f.bench.startGateway(ctx, "gateway-fresh")
	}
	return err
}

func (f *fresh) stop(ctx context.Context) error {
	if f.gateway == nil {
		return nil
	}
	return f.gateway.Stop(ctx)
}

func (f *fresh) server() server {
	return server{contestant{name: gatewayName, url: f.gateway.URL(), pid: f.gateway.Pid}, f.gateway.OpsURL}
}

// load has the gateway hold what clients read; an error tells what it has logged.
func (f *fresh) load(ctx context.Context) error {
	err := f.bench.load(ctx, f.server())
	if err == nil {
		return nil
	}
	log, logErr := os.ReadFile(f.gateway.LogFile())
	if logErr != nil {
		return errors.Join(err, logErr)
	}
	return fmt.Errorf("%w; warnings in its log end with %s", err, lastWarning(log))
}

// lastWarning is the last line of a gateway's log that is more than information.
func lastWarning(log []byte) (last []byte) {
	for line := range bytes.Lines(log) {
		if bytes.HasPrefix(line, []byte(`{"level":"warn"`)) || bytes.HasPrefix(line, []byte(`{"level":"error"`)) {
			last = line
		}
	}
	return bytes.TrimSpace(last)
}

// startup compares the time from the start of a gateway's process until it serves
// pods from its cache with that of one WatchList.
func (b *cacheBench) startup(f *fresh) scenario {
	const started, listed = "gateway, start to serving", "kube-apiserver, one WatchList"
	// Where the process is known only later.
	server := server{contestant: contestant{name: gatewayName, pid: func() int { return f.gateway.Pid() }}}
	return scenario{
		name: "start, pods in protobuf", per: "start",
		checks:  []check{{quantity: wallTime, of: started, over: listed, most: 1.2}},
		prepare: f.prepare, cleanup: f.stop,
		entries: []entry{
			{name: listed, server: b.direct, do: b.watchList},
			{
				name: started, server: server, fresh: true,
				before: func(ctx context.Context) (func(), error) { return func() {}, f.stop(ctx) },
				do: func(ctx context.Context) (batch, error) {
					start := time.Now()
					if err := f.gateway.Start(ctx); err != nil {
						return batch{}, err
					}
					err := awaitReady(ctx, f.gateway.OpsURL, "pods", "protobuf")
					return batch{units: 1, wall: time.Since(start)}, err
				},
			},
		},
	}
}

// watchList reads all pods as the initial events of a watch.
func (b *cacheBench) watchList(ctx context.Context) (batch, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	response, err := ask{watchListPath, protobufType, ""}.send(ctx, b.one[0], b.direct.url)
	if err != nil {
		return batch{}, err
	}
	defer response.Body.Close()
	total, err := initialEvents(response.Body)
	return batch{units: 1, wall: time.Since(start), bytes: total}, err
}

// residence measures the memory of a gateway that has been started and holds pods
// and nodes in both encodings, indexed.
func (b *cacheBench) residence(f *fresh) scenario {
	server := server{contestant: contestant{name: gatewayName, pid: func() int { return f.gateway.Pid() }}}
	resident := func(pid func() int) func(context.Context) (batch, error) {
		return func(ctx context.Context) (batch, error) {
			n, err := settledMemory(ctx, pid())
			return batch{units: 1, memory: n}, err
		}
	}
	return scenario{
		name: "resident memory, pods and nodes in both encodings", per: "process",
		checks:  []check{{quantity: memory, of: gatewayName, most: 800e6}},
		prepare: f.prepare, cleanup: f.stop,
		entries: []entry{
			{name: directName, server: b.direct, do: resident(b.direct.pid)},
			{
				name: gatewayName, server: server,
				before: func(ctx context.Context) (func(), error) {
					if err := f.gateway.Restart(ctx); err != nil {
						return nil, err
					}
					return func() {}, f.load(ctx)
				},
				do: resident(server.pid),
			},
			{name: "gateway, heap in use after a collection", server: server, do: func(ctx context.Context) (batch, error) {
				p, err := readFootprint(ctx, f.gateway.Pid(), f.gateway.OpsURL)
				return batch{units: 1, memory: int64(p.heap)}, err
			}},
		},
	}
}

const (
	// memorySpan is for how long a process's memory must not change by more than 1 in
	// 200, memoryWait when it is taken as it is: Go gives back what it does not need
	// little by little.
	memorySpan = 5 * time.Second
	memoryWait = 90 * time.Second
	// memoryPoll is the time between two looks.
	memoryPoll = 10 * time.Millisecond
)

// settledMemory returns a process's resident memory once it has stopped to change.
func settledMemory(ctx context.Context, pid int) (int64, error) {
	before, err := residentBytes(pid)
	if err != nil {
		return 0, err
	}
	for range memoryWait / memorySpan {
		if err := wait(ctx, memorySpan); err != nil {
			return 0, err
		}
		now, err := residentBytes(pid)
		if err != nil {
			return 0, err
		}
		if change := now - before; max(change, -change) < now/200 {
			return now, nil
		}
		before = now
	}
	return before, nil
}

// crowdOfLists has many clients read all pods at once, each with a connection of its
// own and no faster than its share, and measures how much memory that takes at the
// most. The gateway has just been started: one that has done more before holds memory
// that it does not use, in which all of this would find room.
func (b *cacheBench) crowdOfLists(f *fresh) scenario {
	clients := newClients(b.o.lists, b.tls)
	gateway := server{contestant: contestant{name: gatewayName, pid: func() int { return f.gateway.Pid() }}}
	var idle int64
	settle := func(ctx context.Context, s server) (_ func(), err error) {
		idle, err = settledMemory(ctx, s.pid())
		return func() {}, err
	}
	return scenario{
		name: fmt.Sprintf("%d LISTs of all pods at once, JSON, memory above idle", b.o.lists), per: "turn",
		checks:  []check{{quantity: memory, of: gatewayName, most: 200e6}},
		prepare: f.prepare, cleanup: f.stop,
		entries: []entry{
			{
				name: directName, server: b.direct,
				before: func(ctx context.Context) (func(), error) { return settle(ctx, b.direct) },
				do: func(ctx context.Context) (batch, error) {
					return crowdedLists(ctx, clients, b.direct, b.o.hold, idle)
				},
			},
			{
				name: gatewayName, server: gateway,
				before: func(ctx context.Context) (func(), error) {
					if err := f.gateway.Restart(ctx); err != nil {
						return nil, err
					}
					if err := f.load(ctx); err != nil {
						return nil, err
					}
					return settle(ctx, gateway)
				},
				do: func(ctx context.Context) (batch, error) {
					return crowdedLists(ctx, clients, f.server(), b.o.hold, idle)
				},
			},
		},
	}
}

// readerRate is how fast a client reads one of many lists, in bytes a second.
const readerRate = 2 << 20

func crowdedLists(ctx context.Context, clients []*http.Client, s server, hold time.Duration, idle int64) (batch, error) {
	ctx, cancel := context.WithTimeout(ctx, hold)
	defer cancel()
	var (
		mu      sync.Mutex
		done    = batch{units: 1, wall: hold}
		failed  error
		running sync.WaitGroup
	)
	for _, client := range clients {
		running.Go(func() {
			n, err := readSlowly(ctx, client, s.url)
			mu.Lock()
			defer mu.Unlock()
			done.bytes += n
			failed = errors.Join(failed, err)
		})
	}
	ticker := time.NewTicker(memoryPoll)
	defer ticker.Stop()
	for ctx.Err() == nil {
		now, err := residentBytes(s.pid())
		if err != nil {
			return done, err
		}
		done.memory = max(done.memory, now-idle)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	running.Wait()
	return done, failed
}

// readSlowly reads a list of all pods, again and again, until ctx ends.
func readSlowly(ctx context.Context, client *http.Client, server string) (total int64, err error) {
	start := time.Now()
	buffer := make([]byte, 16<<10)
	for {
		response, err := ask{"/api/v1/pods?resourceVersion=0", jsonType, ""}.send(ctx, client, server)
		if err != nil {
			return total, unlessEnded(ctx, err)
		}
		for err == nil {
			var n int
			n, err = response.Body.Read(buffer)
			total += int64(n)
			due := start.Add(time.Duration(total) * time.Second / readerRate)
			if waited := wait(ctx, time.Until(due)); waited != nil {
				err = waited
			}
		}
		response.Body.Close()
		if err != io.EOF {
			return total, unlessEnded(ctx, err)
		}
	}
}

// unlessEnded returns an error that ctx's end does not explain.
func unlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
