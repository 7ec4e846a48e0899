package attack

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// field is a header field of HTTP/2, sent as it is.
type field struct{ name, value string }

// h2conn is an HTTP/2 connection on which every frame is made by hand.
type h2conn struct {
	*tls.Conn
	framer *http2.Framer

	encoded bytes.Buffer
	encoder *hpack.Encoder
	// held are frames that wait for others, nil if each goes out by itself.
	held *bytes.Buffer
}

// frames is the writing side of the framer.
type frames struct{ *h2conn }

func (f frames) Write(b []byte) (int, error) {
	if f.held != nil {
		return f.held.Write(b)
	}
	return f.Conn.Write(b)
}

// together sends what write makes in one piece, so that the server has read the
// last frame before anybody has answered the first. An error of the connection is
// the server's refusal, which reading tells, too.
func (c *h2conn) together(write func()) {
	c.held = &bytes.Buffer{}
	write()
	_, _ = c.Conn.Write(c.held.Bytes())
	c.held = nil
}

// openH2 connects and shakes hands. Frames of any content may be written.
func (s *side) openH2(ctx context.Context, as string) (*h2conn, error) {
	conn, err := s.dial(ctx, as, "h2")
	if err != nil {
		return nil, err
	}
	if protocol := conn.ConnectionState().NegotiatedProtocol; protocol != "h2" {
		conn.Close()
		return nil, fmt.Errorf("%s negotiated %q", s.name, protocol)
	}
	c := &h2conn{Conn: conn}
	c.framer = http2.NewFramer(frames{c}, conn)
	c.framer.AllowIllegalWrites = true
	c.framer.SetMaxReadFrameSize(1 << 20)
	c.encoder = hpack.NewEncoder(&c.encoded)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		conn.Close()
		return nil, err
	}
	if err := c.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}); err != nil {
		conn.Close()
		return nil, err
	}
	return c, nil
}

// encode makes a header block.
func (c *h2conn) encode(fields ...field) []byte {
	c.encoded.Reset()
	for _, f := range fields {
		// A bytes.Buffer takes everything.
		_ = c.encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	return bytes.Clone(c.encoded.Bytes())
}

// headers writes a header block, in CONTINUATION frames where it is too large
// for one.
func (c *h2conn) headers(stream uint32, end bool, fields ...field) error {
	const most = 16 << 10
	block := c.encode(fields...)
	first := block[:min(len(block), most)]
	block = block[len(first):]
	err := c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for err == nil && len(block) > 0 {
		part := block[:min(len(block), most)]
		block = block[len(part):]
		err = c.framer.WriteContinuation(stream, len(block) == 0, part)
	}
	return err
}

// outcome is how a server ended a stream.
type outcome struct {
	answer
	// ended is "" for an answer, otherwise the frame and its error code, or
	// "closed" for a connection without a word.
	ended string
}

func (o outcome) String() string {
	if o.ended != "" {
		return o.ended
	}
	return strconv.Itoa(o.status)
}

// await reads frames until the stream has ended.
func (c *h2conn) await(stream uint32) (o outcome, err error) {
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return o, err
	}
	var body bytes.Buffer
	decoder := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			o.status, _ = strconv.Atoi(f.Value)
		}
	})
	for {
		frame, err := c.framer.ReadFrame()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return o, fmt.Errorf("no answer within %s", answerTimeout)
		case err != nil:
			o.ended = "closed"
			return o, nil
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				// The server may have closed the connection meanwhile; the next read tells.
				_ = c.framer.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			if f.ErrCode != http2.ErrCodeNo {
				o.ended = "goaway " + f.ErrCode.String()
				return o, nil
			}
		case *http2.RSTStreamFrame:
			// Behind an answer, NO_ERROR means that the rest of the request is not wanted.
			if f.StreamID == stream && f.ErrCode != http2.ErrCodeNo {
				o.ended = "rst " + f.ErrCode.String()
				return o, nil
			}
		case *http2.HeadersFrame:
			// Decoded whatever the stream: the table of headers is common to all.
			status := o.status
			if _, err := decoder.Write(f.HeaderBlockFragment()); err != nil {
				return o, err
			}
			if f.StreamID != stream {
				o.status = status
			}
		case *http2.DataFrame:
			if f.StreamID == stream {
				body.Write(f.Data())
			}
		}
		if head := frame.Header(); head.StreamID == stream && head.Flags.Has(http2.FlagDataEndStream) &&
			(head.Type == http2.FrameData || head.Type == http2.FrameHeaders) {
			o.body = body.String()
			return o, nil
		}
	}
}

// tlsOf is the TLS connection of one that dial or openH2 has made.
func tlsOf(conn net.Conn) *tls.Conn {
	if c, ok := conn.(*h2conn); ok {
		return c.Conn
	}
	return conn.(*tls.Conn)
}

func tcpOf(conn net.Conn) *net.TCPConn { return tlsOf(conn).NetConn().(*net.TCPConn) }
