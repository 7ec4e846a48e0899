package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestAnswerDoesNotWaitForTheBodyForEver has a client that sends one byte of a
// hundred and then nothing, and sees that a whole body leaves the connection good.
func TestAnswerDoesNotWaitForTheBodyForEver(t *testing.T) {
	const patience = 300 * time.Millisecond
	server := httptest.NewServer(WithUnreadBody(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
	}), patience))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(conn)
	answered := func(request string) time.Duration {
		start := time.Now()
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusUnauthorized {
			t.Errorf("answered %d", response.StatusCode)
		}
		return time.Since(start)
	}
	const head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
	answered(head + "whole")
	// The deadline of the first request does not reach into the second.
	if took := answered(head + "w"); took < patience {
		t.Errorf("the client was not waited for: answered after %s", took)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		t.Errorf("the connection is still open: %v", err)
	}
}
