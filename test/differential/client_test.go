package differential

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stepTimeout bounds a request that neither side answers.
const stepTimeout = 40 * time.Second

// side is a server that the table is sent to.
type side struct {
	name      string
	host      string // host:port
	roots     *x509.CertPool
	certs     map[string]*tls.Certificate // by identity
	variables variables

	mu         sync.Mutex
	transports map[string]*http.Transport
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	trailer http.Header
	// chunked tells that the answer did not state its length.
	chunked bool
	// failed tells that the answer broke off or never came.
	failed bool
	// reason is why, for the log only.
	reason error
}

// play sends all steps of a case and returns an answer for each.
func (s *side) play(ctx context.Context, tc testCase) ([]answer, error) {
	v := s.variables.of(tc.name)
	answers := make([]answer, len(tc.steps))
	var open sync.WaitGroup
	defer open.Wait()
	for i, st := range tc.steps {
		ctx, cancel := context.WithTimeout(ctx, stepTimeout)
		finish, err := s.begin(ctx, st, v)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		if st.inParent {
			open.Go(func() {
				defer cancel()
				answers[i] = finish()
			})
			continue
		}
		answers[i] = finish()
		cancel()
		for name, pointer := range st.saves {
			if v[name], err = answers[i].value(pointer); err != nil {
				return nil, fmt.Errorf("step %d: $%s: %w", i, name, err)
			}
		}
	}
	open.Wait()
	return answers, nil
}

// begin sends a step; the function it returns reads the answer.
func (s *side) begin(ctx context.Context, st step, v variables) (func() answer, error) {
	if st.raw != "" {
		return func() answer { return s.exchangeRaw(ctx, st, v.expand(st.raw)) }, nil
	}
	r, err := newRequest(ctx, s.host, st, v)
	if err != nil {
		return nil, err
	}
	transport, done := s.transport(st.as, st.http1)
	response, err := transport.RoundTrip(r)
	if err != nil {
		done()
		return func() answer { return answer{failed: true, reason: err} }, nil
	}
	return func() answer {
		defer done()
		return readAnswer(response, st.untilN)
	}, nil
}

func newRequest(ctx context.Context, host string, st step, v variables) (*http.Request, error) {
	path, query, hasQuery := strings.Cut(v.expand(st.path), "?")
	r := (&http.Request{
		Method: st.method, Host: host,
		// Opaque goes on the wire as it is.
		URL:    &url.URL{Scheme: "https", Host: host, Opaque: path, RawQuery: query, ForceQuery: hasQuery},
		Header: http.Header{"User-Agent": {"differential/1"}},
	}).WithContext(ctx)
	for _, line := range st.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("header %q has no colon", line)
		}
		name = http.CanonicalHeaderKey(name)
		if name == "User-Agent" {
			r.Header.Del(name)
		}
		r.Header[name] = append(r.Header[name], v.expand(strings.TrimSpace(value)))
	}
	if st.hasBody {
		body := st.bytes
		if body == nil {
			body = []byte(v.expand(st.text))
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if st.chunked {
			r.ContentLength = -1
		}
	}
	for _, line := range st.trailers {
		name, value, _ := strings.Cut(line, ": ")
		if r.Trailer == nil {
			r.Trailer = http.Header{}
		}
		r.Trailer.Set(name, value)
	}
	return r, nil
}

// transport keeps connections for the certificates of users. Other requests get
// one each, for a server may end it behind the answer. The function it returns
// must be called when the answer has been read.
func (s *side) transport(identity string, http1 bool) (t *http.Transport, done func()) {
	if identity == "" {
		identity = "admin"
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(http1)
	protocols.SetHTTP2(!http1)
	t = &http.Transport{
		TLSClientConfig:       s.tlsConfig(identity, http1),
		DisableCompression:    true,
		Protocols:             protocols,
		ExpectContinueTimeout: 5 * time.Second,
		MaxIdleConnsPerHost:   16,
	}
	if !slices.Contains([]string{"admin", "alice", "mallory"}, identity) {
		return t, t.CloseIdleConnections
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := identity + strconv.FormatBool(http1)
	if kept := s.transports[key]; kept != nil {
		return kept, func() {}
	}
	s.transports[key] = t
	return t, func() {}
}

func (s *side) tlsConfig(identity string, http1 bool) *tls.Config {
	config := &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}
	if http1 {
		config.NextProtos = []string{"http/1.1"}
	}
	if cert := s.certs[identity]; cert != nil {
		// Sent whatever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return config
}

func readAnswer(response *http.Response, events int) answer {
	defer response.Body.Close()
	a := answer{status: response.StatusCode, chunked: len(response.TransferEncoding) > 0, header: response.Header}
	if events > 0 && response.StatusCode == http.StatusOK {
		a.body, a.reason = readEvents(response.Body, response.Header.Get("Content-Type"), events)
	} else {
		a.body, a.reason = io.ReadAll(response.Body)
		a.trailer = response.Trailer
	}
	a.failed = a.reason != nil
	return a
}

// readEvents reads n events of a watch, framed by newlines or, in protobuf, by
// lengths.
func readEvents(r io.Reader, contentType string, n int) ([]byte, error) {
	var all bytes.Buffer
	in := bufio.NewReader(io.TeeReader(r, &all))
	var kept []byte
	for range n {
		if strings.Contains(contentType, "protobuf") {
			frame, err := readFrame(in)
			kept = append(kept, frame...)
			if err != nil {
				return kept, err
			}
			continue
		}
		line, err := in.ReadBytes('\n')
		kept = append(kept, line...)
		if err != nil {
			return kept, err
		}
	}
	return kept, nil
}

// exchangeRaw writes bytes on a connection of their own and reads one answer.
func (s *side) exchangeRaw(ctx context.Context, st step, text string) answer {
	identity := st.as
	if identity == "" {
		identity = "admin"
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{}, Config: s.tlsConfig(identity, true)}
	conn, err := dialer.DialContext(ctx, "tcp", s.host)
	if err != nil {
		return answer{failed: true, reason: err}
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// A server may answer, and hang up, before it has read everything.
	_, writeErr := io.WriteString(conn, strings.ReplaceAll(text, "\n", "\r\n"))
	method, _, _ := strings.Cut(text, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return answer{failed: true, reason: errors.Join(writeErr, err)}
	}
	return readAnswer(response, st.untilN)
}

// value looks into an answer: "header:NAME", or a JSON pointer into the body.
func (a answer) value(pointer string) (string, error) {
	if name, ok := strings.CutPrefix(pointer, "header:"); ok {
		return a.header.Get(name), nil
	}
	var at any
	if err := json.Unmarshal(a.body, &at); err != nil {
		return "", fmt.Errorf("status %d, %w: %.300s", a.status, err, a.body)
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		part = strings.ReplaceAll(part, "~1", "/")
		switch node := at.(type) {
		case map[string]any:
			at = node[part]
		case []any:
			if i, err := strconv.Atoi(part); err == nil && i < len(node) {
				at = node[i]
				continue
			}
			return "", fmt.Errorf("%s: no element %s", pointer, part)
		default:
			at = nil
		}
	}
	if at == nil {
		return "", fmt.Errorf("%s is not in the answer, status %d: %.300s", pointer, a.status, a.body)
	}
	return fmt.Sprint(at), nil
}
