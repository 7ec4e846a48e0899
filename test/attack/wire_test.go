package attack

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
)

const (
	// answerTimeout bounds the wait for an answer, linger the wait for another
	// behind it.
	answerTimeout = 20 * time.Second
	linger        = 400 * time.Millisecond

	selfPath   = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
	selfReview = `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`
)

// selfRequest is a request to be told who one is, with more header lines. Lines
// end in CR LF, as in all raw text of this package.
func selfRequest(lines ...string) string {
	return request("POST "+selfPath+" HTTP/1.1", selfReview, append([]string{"Host: x", "Content-Type: application/json", "Connection: close"}, lines...)...)
}

// request is a request with the length of its body stated.
func request(first, body string, lines ...string) string {
	return strings.Join(append(append([]string{first}, lines...), fmt.Sprintf("Content-Length: %d", len(body)), "", body), "\r\n")
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

// user is whom a SelfSubjectReview shows.
func (a answer) user() (u authenticationv1.UserInfo, err error) {
	var review authenticationv1.SelfSubjectReview
	if a.status != http.StatusCreated {
		return u, fmt.Errorf("answered %s", a)
	}
	err = json.Unmarshal([]byte(a.body), &review)
	return review.Status.UserInfo, err
}

func (s *side) tlsConfig(as string, protocols ...string) *tls.Config {
	config := &tls.Config{RootCAs: s.roots, ServerName: "127.0.0.1", NextProtos: protocols}
	if cert := s.certs[as]; cert != nil {
		// Sent whatever authorities the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return config
}

// dial connects as the holder of a certificate.
func (s *side) dial(ctx context.Context, as string, protocols ...string) (*tls.Conn, error) {
	if as != "nobody" && s.certs[as] == nil {
		return nil, fmt.Errorf("nobody is called %s", as)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: s.tlsConfig(as, protocols...)}
	conn, err := dialer.DialContext(ctx, "tcp", s.host)
	if err != nil {
		return nil, err
	}
	return conn.(*tls.Conn), nil
}

// exchange writes text on a connection of its own and reads answers until the
// server closes it, or says no more behind as many as are expected.
func (s *side) exchange(ctx context.Context, as, text string, expected int) ([]answer, error) {
	conn, err := s.dial(ctx, as, "http/1.1")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	// A server may answer and hang up before it has read everything.
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = io.WriteString(conn, text)
	}()
	defer func() {
		conn.Close()
		<-written
	}()
	method, _, _ := strings.Cut(text, " ")
	in := bufio.NewReader(conn)
	var answers []answer
	for {
		wait := linger
		if len(answers) < expected {
			wait = answerTimeout
		}
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			return answers, err
		}
		if _, err := in.Peek(1); err != nil {
			if len(answers) < expected && errors.Is(err, os.ErrDeadlineExceeded) {
				return answers, fmt.Errorf("%s: no answer within %s", s.name, wait)
			}
			return answers, nil
		}
		if err := conn.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
			return answers, err
		}
		response, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			return answers, fmt.Errorf("%s: %w", s.name, err)
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		a := answer{status: response.StatusCode, header: response.Header}
		if response.StatusCode != http.StatusSwitchingProtocols {
			body, err := io.ReadAll(response.Body)
			if err != nil {
				return answers, fmt.Errorf("%s: %w", s.name, err)
			}
			a.body = string(body)
		}
		answers = append(answers, a)
		// The method of what follows is unknown; a GET's answer has a body.
		method = http.MethodGet
	}
}

// one is exchange for text that is one request.
func (s *side) one(ctx context.Context, as, text string) (answer, error) {
	answers, err := s.exchange(ctx, as, text, 1)
	switch {
	case err != nil:
		return answer{}, err
	case len(answers) != 1:
		return answer{}, fmt.Errorf("%s: %d answers to one request: %v", s.name, len(answers), answers)
	}
	return answers[0], nil
}

// whoIs returns whom the kube-apiserver takes the holder of a certificate for.
func (s *stage) whoIs(t *testing.T, as string, lines ...string) authenticationv1.UserInfo {
	t.Helper()
	a, err := s.direct.one(t.Context(), as, selfRequest(lines...))
	if err != nil {
		t.Fatal(err)
	}
	u, err := a.user()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// sameUser compares users exactly, but for an empty list and none.
func sameUser(a, b authenticationv1.UserInfo) bool {
	if len(a.Groups) == 0 && len(b.Groups) == 0 {
		a.Groups, b.Groups = nil, nil
	}
	if len(a.Extra) == 0 && len(b.Extra) == 0 {
		a.Extra, b.Extra = nil, nil
	}
	return reflect.DeepEqual(a, b)
}
