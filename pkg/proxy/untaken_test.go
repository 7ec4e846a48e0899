package proxy

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// TestOwnAnswersThatAreNotTakenAreGivenUp has an HTTP/2 client that gives answers no
// window.
func TestOwnAnswersThatAreNotTakenAreGivenUp(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	for path, status := range map[string]string{
		"/livez":       "200",
		"/api/v1/pods": "401",
		"/metrics":     "403",
		ownGroupPath:   "200",
	} {
		t.Run(path, func(t *testing.T) {
			server, _ := serverBefore(t, func(http.ResponseWriter, *http.Request) {}, func(o *Options) {
				o.API, o.StallTimeout = api, 100*time.Millisecond
				if status == "401" {
					o.Authenticator = &suspicious{}
				}
			})
			gateway := serveChain(t, server)
			conn, err := tls.Dial("tcp", gateway.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
				t.Fatal(err)
			}
			framer := http2.NewFramer(conn, conn)
			if err := askWithoutWindow(conn, framer, path); err != nil {
				t.Fatal(err)
			}
			framer.ReadMetaHeaders = hpack.NewDecoder(4<<10, nil)
			for {
				frame, err := framer.ReadFrame()
				if err != nil {
					t.Fatalf("the answer is not given up: %v", err)
				}
				switch frame := frame.(type) {
				case *http2.MetaHeadersFrame:
					if got := frame.PseudoValue("status"); got != status {
						t.Errorf("answered %s", got)
					}
				case *http2.RSTStreamFrame:
					return
				}
			}
		})
	}
}

// askWithoutWindow opens an HTTP/2 connection and sends a GET on it.
func askWithoutWindow(conn io.Writer, framer *http2.Framer, path string) error {
	_, err := io.WriteString(conn, http2.ClientPreface)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "gateway"}, {":path", path}} {
		err = errors.Join(err, encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}))
	}
	return errors.Join(err,
		framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
}

// BenchmarkRefused is a refusal with net/http on both sides.
func BenchmarkRefused(b *testing.B) {
	options := optionsBefore(b, atOnce{})
	options.Limits = newLimiter(b, limitOf("closed", "0", 1, v1alpha1.Match{}))
	gateway := serveChain(b, New(options))
	get(b, gateway, "/api/v1/pods")
	b.ReportAllocs()
	for b.Loop() {
		get(b, gateway, "/api/v1/pods")
	}
}
