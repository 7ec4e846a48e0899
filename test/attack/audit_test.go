package attack

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
)

// carriedOut returns the apiserver's audit events whose path has a mark in it. It
// waits for those of requests that were answered before.
func (s *stage) carriedOut(t *testing.T, mark string) []auditv1.Event {
	t.Helper()
	sentinel := fmt.Sprintf("/sentinel-%d", time.Now().UnixNano())
	if a, err := s.direct.one(t.Context(), "admin", request("GET "+sentinel+" HTTP/1.1", "", "Host: x", "Connection: close")); err != nil || a.status != http.StatusNotFound {
		t.Fatalf("the sentinel was answered %s, %v", a, err)
	}
	var events []auditv1.Event
	eventually(t, 20*time.Second, func() error {
		file, err := os.Open(s.cluster.AuditLog("main-0"))
		if err != nil {
			return err
		}
		defer file.Close()
		events = nil
		complete := false
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 8<<20)
		for lines.Scan() {
			var event auditv1.Event
			if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
				return err
			}
			if strings.Contains(event.RequestURI, mark) {
				events = append(events, event)
			}
			complete = complete || event.RequestURI == sentinel
		}
		if lines.Err() == nil && !complete {
			return errNotYet("the audit log does not show the sentinel")
		}
		return lines.Err()
	})
	return events
}

// actsAs is the user that a request was carried out as.
func actsAs(e auditv1.Event) string {
	if e.ImpersonatedUser != nil {
		return e.ImpersonatedUser.Username
	}
	return e.User.Username
}

// auditName is how the audit log calls the sender of an attack.
func auditName(as string) string {
	if as == "nobody" {
		return "system:anonymous"
	}
	return as
}

// TestConnectionHeaderHidesNobody names as hop-by-hop what the audit log tells of
// a client. Were it taken away, mallory would act from the gateway's address,
// with a client name and identifier that nobody knows.
func TestConnectionHeaderHidesNobody(t *testing.T) {
	s := theStage(t)
	const client = "127.0.0.2"
	mark := fmt.Sprintf("/hidden-%d-", time.Now().UnixNano())
	for _, side := range s.sides() {
		dialer := tls.Dialer{Config: side.tlsConfig("mallory", "http/1.1"), NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}}}
		conn, err := dialer.DialContext(t.Context(), "tcp", side.host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, head("", "GET "+mark+side.name+" HTTP/1.1", host,
			"User-Agent: attack/1", "Audit-ID: "+mark[1:]+side.name, "X-Forwarded-For: 192.0.2.7",
			"Connection: close, X-Forwarded-For", "Connection: audit-id,USER-AGENT , x-forwarded-for")); err != nil {
			t.Error(err)
		}
		if _, err := endsWithin(conn, answerTimeout); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	events := s.carriedOut(t, mark)
	if len(events) != len(s.sides()) {
		t.Errorf("%d requests were carried out; want one from each side", len(events))
	}
	for _, e := range events {
		if len(e.SourceIPs) < 2 || e.SourceIPs[0] != "192.0.2.7" || e.SourceIPs[1] != client {
			t.Errorf("%s came from %v; want 192.0.2.7 and %s", e.RequestURI, e.SourceIPs, client)
		}
		if e.UserAgent != "attack/1" || string(e.AuditID) != e.RequestURI[1:] || actsAs(e) != "mallory" {
			t.Errorf("%s was made by %q as %s, and is called %q", e.RequestURI, e.UserAgent, actsAs(e), e.AuditID)
		}
	}
}
