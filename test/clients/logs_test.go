package clients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// accessLine is what the gateway logs of a request.
type accessLine struct {
	AuditID string `json:"auditID"`
	Client  string `json:"client"`
	Method  string `json:"method"`
	Path    string `json:"path"`
	Code    int    `json:"code"`
}

// accessLog returns what the gateway logged of finished requests.
func accessLog(t *testing.T, g *fixture.Gateway) []accessLine {
	t.Helper()
	var lines []accessLine
	for _, raw := range readLines(t, g.LogFile(), 0) {
		var line accessLine
		// Other loggers' lines are of other forms.
		if !bytes.Contains(raw, []byte(`"logger":"access"`)) {
			continue
		}
		if err := json.Unmarshal(raw, &line); err != nil {
			t.Fatalf("access log: %v in %s", err, raw)
		}
		lines = append(lines, line)
	}
	return lines
}

// auditMark remembers a moment, and where the apiservers' audit logs ended then.
type auditMark struct {
	when time.Time
	ends map[string]int64
}

func (s *stack) markAudit(t *testing.T) auditMark {
	t.Helper()
	mark := auditMark{time.Now(), map[string]int64{}}
	for _, p := range s.apiServers() {
		info, err := os.Stat(s.AuditLog(p.Name()))
		switch {
		case err == nil:
			mark.ends[p.Name()] = info.Size()
		case !errors.Is(err, fs.ErrNotExist):
			t.Fatal(err)
		}
	}
	return mark
}

// auditSince returns those requests since the mark, as far as the apiservers have
// answered, that fit.
func (s *stack) auditSince(t *testing.T, mark auditMark, fits func(*auditv1.Event) bool) []auditv1.Event {
	t.Helper()
	var events []auditv1.Event
	for _, p := range s.apiServers() {
		for _, raw := range readLines(t, s.AuditLog(p.Name()), mark.ends[p.Name()]) {
			var event auditv1.Event
			if err := json.Unmarshal(raw, &event); err != nil {
				t.Fatalf("audit log of %s: %v in %q", p.Name(), err, raw)
			}
			// The end of an earlier request may be logged late.
			if event.RequestReceivedTimestamp.After(mark.when) && fits(&event) {
				events = append(events, event)
			}
		}
	}
	return events
}

func (s *stack) apiServers() []*cluster.Process {
	servers := slices.Concat(s.Servers(cluster.GroupMain), s.Servers(cluster.GroupBypass))
	return slices.DeleteFunc(s.Processes(), func(p *cluster.Process) bool { return !slices.Contains(servers, p.URL()) })
}

// readLines returns the whole lines of a file from an offset on.
func readLines(t *testing.T, path string, offset int64) [][]byte {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(f)
	var lines [][]byte
	for {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, bytes.TrimSpace(line))
	}
}
