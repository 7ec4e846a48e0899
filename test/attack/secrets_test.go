package attack

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// secretMark is part of every secret that is sent, so that one search finds any
// of them wherever it should not be.
const secretMark = "attack5ecret"

// secret is a token or the like, for one place of use.
func secret(place string) string { return secretMark + "-" + place }

// realTokens are those that the apiserver has made, which carry no mark.
var realTokens struct {
	sync.Mutex
	all []string
}

func keepForSearch(token string) string {
	realTokens.Lock()
	defer realTokens.Unlock()
	realTokens.all = append(realTokens.all, token)
	return token
}

// inBase64 are the spellings of the mark in base64, one for each place in a
// group of three bytes that it may begin at.
var inBase64 = regexp.MustCompile(`YXR0YWNrNWVjcmV0|F0dGFjazVlY3Jld|hdHRhY2s1ZWNyZX`)

// secretsIn returns what a log should not hold, with some of what stands around it.
func secretsIn(log string) []string {
	var found []string
	add := func(at, length int) {
		found = append(found, log[max(0, at-100):min(len(log), at+length+20)])
	}
	for rest, offset := log, 0; ; {
		i := strings.Index(rest, secretMark)
		if i < 0 {
			break
		}
		add(offset+i, len(secretMark))
		offset += i + len(secretMark)
		rest = log[offset:]
	}
	for _, at := range inBase64.FindAllStringIndex(log, -1) {
		add(at[0], at[1]-at[0])
	}
	realTokens.Lock()
	defer realTokens.Unlock()
	for _, token := range realTokens.all {
		// A signature alone would be of no use, but the claims say who it is.
		for part := range strings.SplitSeq(token, ".") {
			if i := strings.Index(log, part); i >= 0 {
				add(i, len(part))
			}
		}
	}
	return found
}

// checkLogs is called when all tests have run: whatever was sent, headers, tokens
// and queries are not in the gateways' logs.
func checkLogs(s *stage) error {
	var errs []error
	for _, side := range s.through {
		log, err := os.ReadFile(side.gateway.LogFile())
		if err != nil {
			return err
		}
		for _, where := range secretsIn(string(log)) {
			errs = append(errs, fmt.Errorf("%s has logged a secret: ...%s", side.name, where))
		}
	}
	return errors.Join(errs...)
}

// TestLogsShowPathsButNoSecrets sends some of each kind to see that what
// checkLogs searches is what the gateways write.
func TestLogsShowPathsButNoSecrets(t *testing.T) {
	s := theStage(t)
	for _, side := range s.through {
		const canary = "/logged-canary"
		for _, lines := range [][]string{
			{"Authorization: Bearer " + secret("bearer")},
			{"Authorization: Basic " + basic("mallory", secret("basic"))},
			{"Proxy-Authorization: Bearer " + secret("proxy"), "Cookie: token=" + secret("cookie")},
		} {
			if _, err := side.one(t.Context(), "nobody", request("GET "+canary+"?token="+secret("query")+" HTTP/1.1", "", append(lines, "Host: x", "Connection: close")...)); err != nil {
				t.Error(err)
			}
		}
		eventually(t, 10*time.Second, func() error {
			log, err := os.ReadFile(side.gateway.LogFile())
			if err == nil && strings.Count(string(log), `"path":"`+canary+`"`) < 3 {
				return errNotYet("the access log does not show the requests for " + canary)
			}
			return err
		})
	}
	if err := checkLogs(s); err != nil {
		t.Error(err)
	}
}

type errNotYet string

func (e errNotYet) Error() string { return string(e) }

func TestSearchFindsSecrets(t *testing.T) {
	for _, text := range []string{secret("x"), basic("a", secret("x")), basic("ab", secret("x")), basic("abc", secret("x"))} {
		if len(secretsIn("a line with "+text)) == 0 {
			t.Errorf("%s is not found", text)
		}
	}
	if found := secretsIn("a line without"); len(found) > 0 {
		t.Errorf("found %q", found)
	}
}
