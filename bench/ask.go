package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// ask is what is asked of every contestant in the same words.
type ask struct {
	// path with its query.
	path string
	// accept is the media type; encoding is what Accept-Encoding says, "" for
	// nothing.
	accept, encoding string
}

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
	userAgent    = "bench-operator/v1 (linux/amd64)"
)

func (a ask) header(h http.Header) {
	h["Accept"] = []string{a.accept}
	h["User-Agent"] = []string{userAgent}
	if a.encoding != "" {
		h["Accept-Encoding"] = []string{a.encoding}
	}
}

// send returns an answer with status 200, whose body is to be closed. The error is a
// refusedError where the server says when to come again.
func (a ask) send(ctx context.Context, client *http.Client, server string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+a.path, nil)
	if err != nil {
		return nil, err
	}
	a.header(request.Header)
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	// As client-go does it: whoever says when to come again is asked again.
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && (response.StatusCode == http.StatusTooManyRequests || response.StatusCode >= 500) {
		response.Body.Close()
		return nil, refusedError{response.Status, time.Duration(seconds) * time.Second}
	}
	if response.StatusCode != http.StatusOK {
		return nil, expectOK(response, nil)
	}
	// Who asks for an encoding and does not get it measures something else.
	if got := response.Header.Get("Content-Encoding"); a.encoding != got {
		response.Body.Close()
		return nil, fmt.Errorf("GET %s%s: Content-Encoding %q, want %q", server, a.path, got, a.encoding)
	}
	return response, nil
}

// refusedError tells that a server wants to be asked again later.
type refusedError struct {
	status string
	after  time.Duration
}

// Error implements error.
func (e refusedError) Error() string { return e.status + ", to come again in " + e.after.String() }

// read reads an answer without looking at it, and returns its length in bytes.
func (a ask) read(ctx context.Context, client *http.Client, server string, buffer []byte) (int64, error) {
	response, err := a.send(ctx, client, server)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	total, err := drain(response.Body, buffer)
	if err != nil {
		return total, fmt.Errorf("GET %s%s: behind %d bytes: %w", server, a.path, total, err)
	}
	return total, nil
}

// drain reads to the end, and returns how many bytes there were.
func drain(body io.Reader, buffer []byte) (total int64, err error) {
	for {
		n, err := body.Read(buffer)
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// readBuffer is the size of what is read at a time, in bytes.
const readBuffer = 256 << 10
