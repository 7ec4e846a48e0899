package failover

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	// idle is how long a watch waits for an event that does not come.
	idle = 10 * time.Second
	// sips is in how many parts a client reads a list of 3 MB, sip how often.
	sips = 12
	sip  = 500 * time.Millisecond
	// unheardOf is a list of a revision that no apiserver has: it waits for it for
	// three seconds without a word.
	unheardOf = "/api/v1/namespaces/small/configmaps?resourceVersion=999999999999&resourceVersionMatch=NotOlderThan"
)

// slowAnswers are requests to live servers that take longer than a frozen one is
// waited for. They are sent by clients that bypass serves.
func (e *env) slowAnswers(t *testing.T) map[string]func() error {
	c, quiet := e.client(t, "operators-slow"), e.client(t, "operators-quiet")
	reader := e.smallWindowClient(t)
	ctx := within(t, time.Minute)
	return map[string]func() error{
		"a watch without events": func() error {
			begun := time.Now()
			a, err := quiet.do(ctx, "GET", fmt.Sprintf("/api/v1/namespaces/large/configmaps?watch=true&timeoutSeconds=%.0f&resourceVersion=%s", idle.Seconds(), e.version(t)), "")
			switch took := time.Since(begun); {
			case err != nil:
				return err
			case a.code != 200 || len(a.body) > 0 || took < idle:
				return fmt.Errorf("answered %d and ended after %s: %s", a.code, ms(took), a.body)
			}
			return nil
		},
		"a list without a byte for three seconds": func() error {
			begun := time.Now()
			a, err := c.do(ctx, "GET", unheardOf, "")
			switch took := time.Since(begun); {
			case err != nil:
				return err
			case a.code != http.StatusGatewayTimeout || !strings.Contains(a.status.Message, "Too large resource version") || took < 3*time.Second:
				return fmt.Errorf("answered %d after %s, want the kube-apiserver's 504 after three seconds: %s", a.code, ms(took), a.status.Message)
			}
			return nil
		},
		"a list that is read slowly": func() error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.g.URL()+"/api/v1/namespaces/large/configmaps", nil)
			if err != nil {
				return err
			}
			r.Header.Set("User-Agent", "operators-slow-reader/1.0")
			response, err := reader.Do(r)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			if response.StatusCode != 200 {
				return fmt.Errorf("answered %s", response.Status)
			}
			ticker := time.NewTicker(sip)
			defer ticker.Stop()
			var read int64
			for range sips {
				n, err := io.CopyN(io.Discard, response.Body, int64(shelves[2].objects*shelves[2].bytes/sips))
				if err != nil {
					return fmt.Errorf("after %d bytes: %w", read+n, err)
				}
				read += n
				<-ticker.C
			}
			_, err = io.Copy(io.Discard, response.Body)
			return err
		},
	}
}
