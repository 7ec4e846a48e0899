package failover

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

// audited is what an apiserver logged of a request.
type audited struct {
	// server is the name of the apiserver's process.
	server string

	Stage, Verb, UserAgent, RequestURI string
	RequestReceivedTimestamp           time.Time
}

// auditMark remembers where the audit logs end.
type auditMark map[string]int64

func (e *env) markAudit(t *testing.T) auditMark {
	t.Helper()
	mark := auditMark{}
	for _, server := range servers {
		info, err := os.Stat(e.AuditLog(server))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		mark[server] = info.Size()
	}
	return mark
}

// auditSince returns what servers have logged since the mark of clients whose names
// begin with one of those. A line that a killed server has not finished counts as
// far as it goes: who sent a request must not be hidden by a kill.
func (e *env) auditSince(t *testing.T, mark auditMark, servers []string, agents ...string) (all []audited) {
	t.Helper()
	for _, server := range servers {
		log, err := os.ReadFile(e.AuditLog(server))
		must(t, err)
		for line := range bytes.Lines(log[mark[server]:]) {
			for _, agent := range agents {
				if !bytes.Contains(line, []byte(`"userAgent":"`+agent)) {
					continue
				}
				a := audited{server: server}
				// The part of a line leaves zeros.
				_ = json.Unmarshal(line, &a)
				all = append(all, a)
			}
		}
	}
	return all
}

// of tells whether the request was for a path that begins so.
func (a audited) of(path string) bool { return strings.HasPrefix(a.RequestURI, path) }

// byServer counts requests.
func byServer(all []audited) map[string]int {
	counts := map[string]int{}
	for _, a := range all {
		counts[a.server]++
	}
	return counts
}
