package transport

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
)

// text is several chunks of framed snappy.
var text = strings.Repeat("what is asked for, ", 20000)

// server answers in the first encoding of its own that a client takes, and tells
// what it was asked for.
func server(t *testing.T, own ...string) (*httptest.Server, *string) {
	t.Helper()
	var asked string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Header.Get("Accept-Encoding")
		for _, encoding := range own {
			if !strings.Contains(asked, encoding) {
				continue
			}
			w.Header().Set("Content-Encoding", encoding)
			var out io.WriteCloser = snappy.NewBufferedWriter(w)
			if encoding == "gzip" {
				out = gzip.NewWriter(w)
			}
			defer out.Close()
			_, _ = io.WriteString(out, text)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s, &asked
}

func TestWhateverTheServerSpeaksTheClientReadsTheSame(t *testing.T) {
	for _, own := range [][]string{{"x-snappy-framed", "gzip"}, {"gzip"}, nil} {
		t.Run(fmt.Sprint(own), func(t *testing.T) {
			s, asked := server(t, own...)
			response, err := (&http.Client{Transport: Snappy(http.DefaultTransport)}).Get(s.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != text {
				t.Fatalf("read %d bytes, error %v; want %d", len(body), err, len(text))
			}
			if *asked != "x-snappy-framed, gzip" {
				t.Errorf("asked for %q", *asked)
			}
			if len(own) > 0 && (!response.Uncompressed || response.ContentLength != -1 || response.Header.Get("Content-Encoding") != "") {
				t.Errorf("the answer speaks of its encoding: %v, %d bytes", response.Header, response.ContentLength)
			}
		})
	}
}

func TestWhoAsksForAnEncodingGetsItAsItIs(t *testing.T) {
	s, _ := server(t, "gzip")
	for name, values := range map[string]map[string]string{
		"an encoding": {"Accept-Encoding": "gzip"}, "a part": {"Range": "bytes=0-9"}, "another protocol": {"Upgrade": "websocket"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			for header, value := range values {
				r.Header.Set(header, value)
			}
			before := r.Header.Clone()
			seen := recorder{}
			response, err := Snappy(&seen).RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if fmt.Sprint(seen.header) != fmt.Sprint(before) {
				t.Errorf("sent %v, want %v", seen.header, before)
			}
		})
	}
}

// recorder notes the headers of a request.
type recorder struct{ header http.Header }

func (r *recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	r.header = request.Header.Clone()
	return http.DefaultTransport.RoundTrip(request)
}

func TestTheRequestOfTheCallerIsNotChanged(t *testing.T) {
	s, _ := server(t)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := Snappy(http.DefaultTransport).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if len(r.Header) != 0 {
		t.Errorf("it has %v", r.Header)
	}
}

func TestABrokenAnswerIsAnError(t *testing.T) {
	for _, encoding := range []string{"x-snappy-framed", "gzip"} {
		for name, body := range map[string]string{"nonsense": "nonsense", "nothing": ""} {
			t.Run(encoding+" "+name, func(t *testing.T) {
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Encoding", encoding)
					_, _ = io.WriteString(w, body)
				}))
				defer s.Close()
				response, err := (&http.Client{Transport: Snappy(http.DefaultTransport)}).Get(s.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer response.Body.Close()
				if read, err := io.ReadAll(response.Body); (body == "") != (err == nil || err == io.EOF) {
					t.Errorf("read %q, error %v", read, err)
				}
			})
		}
	}
}
