package discovery

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// response is an answer to r with the document, compressed if it is large and the
// client can read it. It takes h over.
func (d *document) response(r *http.Request, h http.Header) *http.Response {
	body := d.body
	if len(body) > gzipAbove {
		vary(h, "Accept-Encoding")
		if acceptsGzip(r.Header) {
			body = d.compressed()
			h["Content-Encoding"] = []string{"gzip"}
		}
	}
	h["Content-Type"] = []string{d.contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	response := &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: int64(len(body)), Body: http.NoBody, Request: r,
	}
	if r.Method != http.MethodHead {
		response.Body = io.NopCloser(bytes.NewReader(body))
	}
	return response
}

// vary adds to a header of that name.
func vary(h http.Header, name string) {
	for _, line := range h["Vary"] {
		for there := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(there), name) {
				return
			}
		}
	}
	h["Vary"] = append(h["Vary"], name)
}

// read reads the document in an answer. If it is not whole, the answer is still
// there to be passed on as it came.
func read(response *http.Response) (body []byte, whole bool, err error) {
	if response.ContentLength > maxDocument {
		return nil, false, nil
	}
	coding := strings.ToLower(response.Header.Get("Content-Encoding"))
	if coding != "" && coding != "identity" && coding != "gzip" {
		return nil, false, nil
	}
	var raw bytes.Buffer
	if response.ContentLength > 0 {
		raw.Grow(int(response.ContentLength) + bytes.MinRead)
	}
	if _, err := raw.ReadFrom(io.LimitReader(response.Body, maxDocument+1)); err != nil {
		return nil, false, err
	}
	body, whole = raw.Bytes(), raw.Len() <= maxDocument
	if whole && coding == "gzip" {
		if body, err = decompress(raw.Bytes()); err != nil {
			return nil, false, err
		}
		if whole = len(body) <= maxDocument; whole {
			delete(response.Header, "Content-Encoding")
		}
	}
	if !whole {
		rest := response.Body
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(raw.Bytes()), rest), rest}
		return nil, false, nil
	}
	return body, true, nil
}

func decompress(b []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, maxDocument+1))
}

// withBody puts a body that was read back into its answer.
func withBody(response *http.Response, body []byte) *http.Response {
	response.Header["Content-Length"] = []string{strconv.Itoa(len(body))}
	response.ContentLength = int64(len(body))
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response
}
