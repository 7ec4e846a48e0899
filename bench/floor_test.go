package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestFloorGivesTheAnswerItWasTaught(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", r.Header.Get("Accept"))
		w.Header().Set("Audit-Id", "not part of it")
		if encoding := r.Header.Get("Accept-Encoding"); encoding != "" {
			w.Header().Set("Content-Encoding", encoding)
		}
		_, _ = io.WriteString(w, r.Header.Get("Accept")+r.Header.Get("Accept-Encoding")+r.URL.RequestURI())
	}))
	defer upstream.Close()
	floor := httptest.NewServer(newFloor())
	defer floor.Close()
	client := newClients(1, nil)[0]
	asks := []ask{{"/a?b=c", jsonType, ""}, {"/a?b=c", protobufType, ""}, {"/a?b=c", jsonType, "gzip"}, {"/a?b=d", jsonType, ""}}
	for _, a := range asks {
		n, err := teach(t.Context(), client, upstream.URL, floor.URL, a)
		if want := int64(len(a.accept + a.encoding + a.path)); err != nil || n != want {
			t.Fatalf("%v: %d bytes, %v, want %d", a, n, err, want)
		}
	}
	for _, a := range asks {
		response, err := a.send(t.Context(), client, floor.URL)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != a.accept+a.encoding+a.path {
			t.Errorf("%v: %q, %v", a, body, err)
		}
		if got := response.Header.Get("Content-Type"); got != a.accept {
			t.Errorf("%v: Content-Type %q", a, got)
		}
		if got := response.Header.Get("Audit-Id"); got != "" {
			t.Errorf("%v: Audit-Id %q", a, got)
		}
	}
	if _, err := (ask{"/other", jsonType, ""}).read(t.Context(), client, floor.URL, make([]byte, 100)); err == nil {
		t.Error("what it was not taught is answered")
	}
}

func TestAnswerInAnotherEncodingIsAnError(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	a := ask{"/", jsonType, "gzip"}
	if _, err := a.read(t.Context(), newClients(1, nil)[0], plain.URL, make([]byte, 100)); err == nil || !strings.Contains(err.Error(), "Content-Encoding") {
		t.Errorf("error %v", err)
	}
}

func TestRefusedClientKnowsWhenToComeAgain(t *testing.T) {
	var status int
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/later" {
			w.Header().Set("Retry-After", "7")
		}
		w.WriteHeader(status)
	}))
	defer busy.Close()
	client := newClients(1, nil)[0]
	for _, status = range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		var refused refusedError
		if _, err := (ask{"/later", jsonType, ""}).send(t.Context(), client, busy.URL); !errors.As(err, &refused) || refused.after != 7*time.Second {
			t.Errorf("%d: error %v", status, err)
		}
		if _, err := (ask{"/never", jsonType, ""}).send(t.Context(), client, busy.URL); err == nil || errors.As(err, &refused) {
			t.Errorf("%d without Retry-After: %v", status, err)
		}
	}
}

func TestFloorSendsEventsToAllWhoWatch(t *testing.T) {
	floor := httptest.NewServer(newFloor())
	defer floor.Close()
	clients := newClients(3, nil)
	const watchers = 7
	watching, err := openCrowd(t.Context(), clients, floor.URL, watchers, func(int) ask { return ask{floorWatch, protobufType, ""} })
	if err != nil {
		t.Fatal(err)
	}
	defer watching.close()
	for i := range 3 {
		if err := emit(t.Context(), clients[0], floor.URL, framesOf("an event")); err != nil {
			t.Fatal(err)
		}
		if err := watching.await(t.Context(), int64(watchers*(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := watching.bytes.Load(), int64(3*watchers*len(framesOf("an event"))); got != want {
		t.Errorf("%d bytes, want %d", got, want)
	}
	floor.CloseClientConnections()
	if err := watching.await(t.Context(), 100); err == nil {
		t.Error("watches that have ended are waited for")
	}
}
