package main

import (
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// minSkew is what the Date header and the way of an answer can make up by
// themselves.
const minSkew = 5 * time.Second

// serverClock keeps how far the gateway's clock is ahead of the local one. When a
// switch expires is a time of the gateway; a laptop that is ten minutes off must
// not show one as over that is on.
type serverClock struct {
	local clock.PassiveClock
	ahead atomic.Int64
}

// now is the gateway's time, as of its last answer.
func (s *serverClock) now() time.Time {
	return s.local.Now().Add(time.Duration(s.ahead.Load()))
}

func (s *serverClock) watch(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err != nil {
			return response, err
		}
		if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
			ahead := date.Sub(s.local.Now())
			if ahead.Abs() < minSkew {
				ahead = 0
			}
			s.ahead.Store(int64(ahead))
		}
		return response, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
