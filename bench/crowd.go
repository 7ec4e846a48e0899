package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// crowd are watches that are read without decoding: only where frames end is seen.
type crowd struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	// frames and bytes are what all have received; goal is what await waits for.
	frames, bytes, goal atomic.Int64
	reached             chan struct{}

	mu  sync.Mutex
	err error
	// broken is closed when a watch has ended by itself.
	broken chan struct{}
}

// openParallel is how many watches are opened at a time.
const openParallel = 32

// openCrowd opens watches at a server, each on the client that is next, and returns
// when all are answered. They last until close.
func openCrowd(ctx context.Context, clients []*http.Client, server string, n int, watch func(i int) ask) (*crowd, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{cancel: cancel, reached: make(chan struct{}, 1), broken: make(chan struct{})}
	c.goal.Store(math.MaxInt64)
	var opening sync.WaitGroup
	gate := make(chan struct{}, openParallel)
	for i := range n {
		gate <- struct{}{}
		opening.Go(func() {
			defer func() { <-gate }()
			response, err := watch(i).send(ctx, clients[i%len(clients)], server)
			if err != nil {
				c.fail(err)
				return
			}
			c.running.Go(func() { c.follow(ctx, response) })
		})
	}
	opening.Wait()
	if err := c.failed(); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// crowdBuffer is what each watch reads at a time, in bytes: one event.
const crowdBuffer = 8 << 10

func (c *crowd) follow(ctx context.Context, response *http.Response) {
	defer response.Body.Close()
	var frames frameCounter
	buffer := make([]byte, crowdBuffer)
	for {
		n, err := response.Body.Read(buffer)
		if n > 0 {
			c.bytes.Add(int64(n))
			if ended := frames.count(buffer[:n]); ended > 0 && c.frames.Add(int64(ended)) >= c.goal.Load() {
				select {
				case c.reached <- struct{}{}:
				default:
				}
			}
		}
		if err != nil {
			if ctx.Err() == nil {
				c.fail(fmt.Errorf("a watch has ended: %w", err))
			}
			return
		}
	}
}

func (c *crowd) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
		close(c.broken)
	}
}

func (c *crowd) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// await waits until the watches have received that many frames in all.
func (c *crowd) await(ctx context.Context, total int64) error {
	c.goal.Store(total)
	for c.frames.Load() < total {
		select {
		case <-c.reached:
		case <-c.broken:
			return c.failed()
		case <-ctx.Done():
			return fmt.Errorf("%d of %d events came: %w", c.frames.Load(), total, context.Cause(ctx))
		}
	}
	if got := c.frames.Load(); got > total {
		return fmt.Errorf("%d events came, and only %d were expected", got, total)
	}
	return nil
}

// close ends the watches.
func (c *crowd) close() {
	c.cancel()
	c.running.Wait()
}

// frameCounter finds where the frames of a watch in protobuf end: each has its
// length in front, four bytes, highest first.
type frameCounter struct {
	head [4]byte
	have int
	left uint32
}

// count returns how many frames end in b, which is what comes next.
func (f *frameCounter) count(b []byte) (ended int) {
	for len(b) > 0 {
		if f.have < len(f.head) {
			n := copy(f.head[f.have:], b)
			f.have += n
			b = b[n:]
			if f.have < len(f.head) {
				return ended
			}
			f.left = binary.BigEndian.Uint32(f.head[:])
		}
		n := min(uint64(f.left), uint64(len(b)))
		f.left -= uint32(n)
		b = b[n:]
		if f.left == 0 {
			f.have = 0
			ended++
		}
	}
	return ended
}

// maxFrame bounds one frame, in bytes.
const maxFrame = 16 << 20

// readFrame reads the next frame of a watch into the buffer, which grows as it must,
// and returns it with its length in front. The error is io.EOF between frames only.
func readFrame(r io.Reader, buffer []byte) ([]byte, error) {
	frame := append(buffer[:0], 0, 0, 0, 0)
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(frame)
	if size > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes", size)
	}
	frame = slices.Grow(frame, int(size))[:4+size]
	if _, err := io.ReadFull(r, frame[4:]); err != nil {
		return nil, fmt.Errorf("the watch has ended within a frame: %w", err)
	}
	return frame, nil
}
