package differential

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// audited is what the audit log should say about a request, whichever way it came.
type audited struct {
	Verb, URI, UserAgent string
	SourceIPs            []string
	Code                 int32
	// As is who the request was carried out as, By who sent it: the same unless
	// somebody impersonates.
	As, By authenticationv1.UserInfo
}

// testAudit looks into the kube-apiserver's audit log for requests that came
// each way.
func testAudit(t *testing.T, b *bench) {
	// What is indented is not answered from a cache, where there would be no event.
	const pretty = "pretty=true"
	for name, st := range map[string]step{
		"user":           get(one + "?" + pretty).by("alice"),
		"forbidden":      get(one).by("mallory"),
		"user with uid":  get("/api").by("with-uid"),
		"account":        get(cms+"?limit=1&"+pretty, forToken+"$PODTOKEN").by("nobody"),
		"anonymous":      get("/version").by("nobody"),
		"impersonation":  get(one+"?"+pretty, imp+"alice", "Impersonate-Group: readers", "Impersonate-Uid: 7", "Impersonate-Extra-A.b%2Fc: d"),
		"behind a proxy": get("/api", "X-Forwarded-For: 192.0.2.1, 192.0.2.2").by("alice"),
		"no user agent":  get("/api", "User-Agent:").by("alice"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := b.audited(t, b.direct, st)
			for _, v := range variants() {
				mode := v.mode
				gate := b.audited(t, b.gateways[v], st)
				want := direct
				if mode == fixture.Impersonation && name != "anonymous" {
					// The gateway's own credential sends, and says for whom. Who
					// asked the gateway to impersonate is in the gateway's log.
					want.By = gate.By
					if gate.By.Username != "asi:admin" {
						t.Errorf("%s: sent by %s", mode, gate.By.Username)
					}
				}
				if !reflect.DeepEqual(gate, want) {
					t.Errorf("%s:\n got %+v\nwant %+v", mode, gate, want)
				}
			}
		})
	}
}

// audited sends a request with an Audit-ID and waits for it in the log.
func (b *bench) audited(t *testing.T, s *side, st step) audited {
	t.Helper()
	id := uuid.NewString()
	st.headers = append([]string{"User-Agent: auditor/2 (test)", "Audit-ID: " + id}, st.headers...)
	if _, err := s.play(t.Context(), c("audit", st)); err != nil {
		t.Fatal(err)
	}
	var event *auditv1.Event
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(context.Context) (bool, error) {
		var err error
		event, err = findEvent(b.cluster.AuditLog("main-0"), id)
		return event != nil, err
	})
	if err != nil {
		t.Fatalf("%s: no audit event %s: %v", s.name, id, err)
	}
	a := audited{
		Verb: event.Verb, URI: event.RequestURI, UserAgent: event.UserAgent, SourceIPs: event.SourceIPs,
		Code: event.ResponseStatus.Code, By: event.User, As: event.User,
	}
	if event.ImpersonatedUser != nil {
		a.As = *event.ImpersonatedUser
	}
	return a
}

func findEvent(path, id string) (*auditv1.Event, error) {
	log, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(log))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if !bytes.Contains(lines.Bytes(), []byte(id)) {
			continue
		}
		var event auditv1.Event
		// The last line may still be being written.
		if json.Unmarshal(lines.Bytes(), &event) == nil && string(event.AuditID) == id {
			return &event, nil
		}
	}
	return nil, lines.Err()
}
