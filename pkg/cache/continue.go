package cache

import (
	"encoding/base64"
	"encoding/json"
	"strings"
)

// token is what a continue token says, as kube-apiserver makes it
// (k8s.io/apiserver pkg/storage/continue.go): so that a page of the gateway's list
// can be followed by one of an apiserver's, and the other way round.
type token struct {
	Version         string `json:"v"`
	ResourceVersion int64  `json:"rv"`
	// Start is where the next page begins, relative to the scope of the list.
	Start string `json:"start"`
}

const tokenVersion = "meta.k8s.io/v1"

// nextPage returns the token for what follows an object.
func nextPage(rv uint64, lastKey, prefix string) string {
	// The first key that can follow is the last one and a nought byte. Tokens of
	// kube-apiserver's cache begin with a slash.
	text, err := json.Marshal(token{tokenVersion, int64(rv), "/" + strings.TrimPrefix(lastKey, prefix) + "\x00"})
	if err != nil {
		// Strings and numbers can be marshalled.
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// readToken returns where a list goes on: the resource version, and the first key.
// False for a token that is not of the kind that nextPage makes, which may be good
// all the same.
func readToken(encoded, prefix string) (rv uint64, from string, ok bool) {
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return 0, "", false
	}
	var t token
	if err := json.Unmarshal(text, &t); err != nil || t.Version != tokenVersion || t.ResourceVersion <= 0 || t.Start == "" {
		return 0, "", false
	}
	start := strings.TrimPrefix(t.Start, "/")
	for part := range strings.SplitSeq(start, "/") {
		if part == ".." || part == "." {
			return 0, "", false
		}
	}
	return uint64(t.ResourceVersion), prefix + start, true
}
