package proxy

import "net/http"

// WithGoaway tells the clients of some HTTP/2 requests, picked by chance, to
// connect anew. HTTP/2 clients keep a connection for as long as it works: without
// that, a gateway that was restarted behind a load balancer would stay idle.
//
// What is under way on the connection, watches included, goes on to its end;
// only new requests go over a new one. HTTP/1.1 clients are left alone: they have
// many connections, which come and go.
//
// A chance of 0 never does. Random returns numbers from [0, 1).
func WithGoaway(next http.Handler, chance float64, random func() float64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && random() < chance {
			// net/http makes a graceful GOAWAY of it.
			w.Header()["Connection"] = []string{"close"}
		}
		next.ServeHTTP(w, r)
	})
}
