package attack

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// floodTimeout bounds a flood, whatever the server does.
const floodTimeout = 30 * time.Second

// TestLargeHeadersAreRefused: beyond 1 MiB the answer is the apiserver's, and
// memory is not taken for more.
func TestLargeHeadersAreRefused(t *testing.T) {
	s := theStage(t)
	huge := head("", "GET /version HTTP/1.1", host, closing, "X-Huge: "+strings.Repeat("a", 3<<19))
	many := head("", "GET /version HTTP/1.1", host, closing, strings.TrimSuffix(strings.Repeat("X-Many: a\r\n", 150_000), "\r\n"))
	line := head("", "GET /version?"+strings.Repeat("a", 3<<19)+" HTTP/1.1", host, closing)
	fits := head("", "GET /version HTTP/1.1", host, closing, "X-Fits: "+strings.Repeat("a", 900<<10))
	for _, side := range s.sides() {
		for name, tc := range map[string]struct {
			text string
			want int
		}{"one value": {huge, 431}, "many headers": {many, 431}, "the first line": {line, 431}, "less": {fits, 200}} {
			if got, err := side.one(t.Context(), "mallory", tc.text); err != nil || got.status != tc.want {
				t.Errorf("%s: %s: answered %s, %v; want %d", side.name, name, got, err, tc.want)
			}
		}
		c, err := side.openH2(t.Context(), "mallory")
		if err != nil {
			t.Fatal(err)
		}
		fields := []field{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/version"}}
		for i := range 24 {
			fields = append(fields, field{fmt.Sprintf("x-huge-%d", i), strings.Repeat("~", 64<<10)})
		}
		_ = c.headers(1, true, fields...)
		got, err := c.await(1)
		if err != nil || (got.String() != "431" && got.ended == "") {
			t.Errorf("%s: HTTP/2: %s, %v; want 431 or an end", side.name, got, err)
		}
		t.Logf("%s: HTTP/2: %s", side.name, got)
		c.Close()
	}
}

// flood opens a connection, has write fill it until it fails or has done enough,
// and says how the server bore it: closed tells that it ended the connection.
func flood(t *testing.T, side *side, as string, reads bool, write func(c *h2conn) error) (closed bool) {
	t.Helper()
	c, err := side.openH2(t.Context(), as)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// What has been waiting for the server to read ends here.
	if err := c.SetDeadline(time.Now().Add(floodTimeout)); err != nil {
		t.Fatal(err)
	}
	if !reads {
		wrote := write(c)
		return wrote != nil && !errors.Is(wrote, os.ErrDeadlineExceeded)
	}
	// The answer to a last PING tells that the server has gone through all of it.
	last := [8]byte{'l', 'a', 's', 't'}
	through := make(chan bool, 1)
	go func() {
		for {
			frame, err := c.framer.ReadFrame()
			ping, ok := frame.(*http2.PingFrame)
			if err != nil || (ok && ping.IsAck() && ping.Data == last) {
				through <- err == nil
				return
			}
		}
	}()
	// Errors of writing are the server's end, which the reader sees.
	if write(c) == nil {
		_ = c.framer.WritePing(false, last)
	}
	return !<-through
}

// TestFloodsOfFramesAreHarmless sends what cost servers their memory or
// processors in the years before: each ends with the connection, or costs little.
func TestFloodsOfFramesAreHarmless(t *testing.T) {
	s := theStage(t)
	side := s.through[0]
	times := 1
	if fixture.Soak() {
		times = 10
	}
	request := []field{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/version"}}
	garbage := make([]byte, 16<<10)
	if _, err := rand.Read(garbage); err != nil {
		t.Fatal(err)
	}
	// A frame that is longer than may be. Of one in 16 that begin at random the rest
	// would be waited for.
	garbage[0] = 0xff
	literal := func(c *h2conn) []byte {
		return c.encode(field{"x-flood", strings.Repeat("~", 12<<10)})
	}
	for _, tc := range []struct {
		name   string
		reads  bool
		closes bool
		write  func(c *h2conn) error
	}{
		{name: "CONTINUATION without end", closes: true, reads: true, write: func(c *h2conn) error {
			err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(request...)})
			block := literal(c)
			for i := 0; err == nil && i < 8000*times; i++ {
				err = c.framer.WriteContinuation(1, false, block)
			}
			return err
		}},
		{name: "empty CONTINUATION", reads: true, write: func(c *h2conn) error {
			err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: c.encode(request...)})
			for i := 0; err == nil && i < 20000*times; i++ {
				err = c.framer.WriteContinuation(1, false, nil)
			}
			return err
		}},
		{name: "rapid reset", reads: true, write: func(c *h2conn) (err error) {
			for i := 0; err == nil && i < 10000*times; i++ {
				if err = c.headers(uint32(2*i+1), true, request...); err == nil {
					err = c.framer.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
				}
			}
			return err
		}},
		{name: "rapid reset with bodies", reads: true, write: func(c *h2conn) (err error) {
			review := []field{{":method", "POST"}, {":scheme", "https"}, {":authority", "x"}, {":path", selfPath}, {"content-type", "application/json"}}
			for i := 0; err == nil && i < 2000*times; i++ {
				if err = c.headers(uint32(2*i+1), false, review...); err == nil {
					err = c.framer.WriteData(uint32(2*i+1), false, []byte("{"))
				}
				if err == nil {
					err = c.framer.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel)
				}
			}
			return err
		}},
		{name: "more streams than allowed", reads: true, write: func(c *h2conn) (err error) {
			watch := []field{{":method", "GET"}, {":scheme", "https"}, {":authority", "x"}, {":path", "/api/v1/namespaces/" + namespace + "/configmaps?watch=1"}}
			for i := 0; err == nil && i < 2000*times; i++ {
				err = c.headers(uint32(2*i+1), true, watch...)
			}
			return err
		}},
		{name: "PING, unread", closes: true, write: func(c *h2conn) (err error) {
			frames := bytes.Repeat([]byte("\x00\x00\x08\x06\x00\x00\x00\x00\x00attacker"), 1000)
			// More than the buffers of both sides hold.
			for i := 0; err == nil && i < 2000*times; i++ {
				_, err = c.Write(frames)
			}
			return err
		}},
		{name: "PING", reads: true, write: func(c *h2conn) (err error) {
			for i := 0; err == nil && i < 20_000*times; i++ {
				err = c.framer.WritePing(false, [8]byte{byte(i)})
			}
			return err
		}},
		{name: "SETTINGS, unread", write: func(c *h2conn) (err error) {
			frames := bytes.Repeat([]byte("\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x10\x00\x00"), 1000)
			for i := 0; err == nil && i < 1000*times; i++ {
				_, err = c.Write(frames)
			}
			return err
		}},
		{name: "SETTINGS", reads: true, write: func(c *h2conn) (err error) {
			for i := 0; err == nil && i < 20_000*times; i++ {
				err = c.framer.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i)})
			}
			return err
		}},
		{name: "empty DATA", reads: true, write: func(c *h2conn) error {
			err := c.headers(1, false, field{":method", "POST"}, field{":scheme", "https"}, field{":authority", "x"}, field{":path", selfPath})
			for i := 0; err == nil && i < 20_000*times; i++ {
				err = c.framer.WriteData(1, false, nil)
			}
			return err
		}},
		{name: "PRIORITY and unknown frames", reads: true, write: func(c *h2conn) (err error) {
			for i := 0; err == nil && i < 5_000*times; i++ {
				if err = c.framer.WritePriority(uint32(2*i+1), http2.PriorityParam{StreamDep: 0, Weight: 1}); err == nil {
					err = c.framer.WriteRawFrame(0xfa, 0, 0, garbage[:1<<10])
				}
			}
			return err
		}},
		{name: "garbage", closes: true, write: func(c *h2conn) error {
			if _, err := c.Write(garbage); err != nil {
				return err
			}
			if _, err := endsWithin(c.Conn, slack); err != nil {
				return nil
			}
			return io.EOF
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			baseline := side.baseline(t)
			stop := side.watchMemory(t)
			start := time.Now()
			closed := flood(t, side, "mallory", tc.reads, tc.write)
			if tc.closes && !closed {
				t.Errorf("the connection was not closed")
			}
			side.serves(t, slack)
			side.settles(t, baseline)
			grown := stop()
			t.Logf("connection closed by the gateway: %t, after %s", closed, time.Since(start).Round(time.Millisecond))
			memoryStays(t, side, grown, 96)
		})
	}
}
