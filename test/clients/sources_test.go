package clients

import (
	"net"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/rest"
)

// TestApiserversRecordTheClientsAddress connects from another address than the
// gateway's: the audit log must name both, the client's first.
func TestApiserversRecordTheClientsAddress(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has more than one loopback address without being told")
	}
	const client = "127.0.0.2"
	eachMode(t, func(t *testing.T, e *env) {
		mark := e.markAudit(t)
		config := rest.CopyConfig(e.g.RESTConfig())
		config.UserAgent = "clients-sources/1"
		config.Dial = (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(client)}, Timeout: 5 * time.Second}).DialContext
		httpClient, err := rest.HTTPClientFor(config)
		must(t, err)
		defer httpClient.CloseIdleConnections()
		response, err := get(t.Context(), httpClient, e.g.URL()+"/api/v1/namespaces/default")
		must(t, err)
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.Status)
		}
		events := e.auditSince(t, mark, func(event *auditv1.Event) bool { return event.UserAgent == config.UserAgent })
		if len(events) != 1 {
			t.Fatalf("%d requests in the audit logs, want 1", len(events))
		}
		if want := []string{client, "127.0.0.1"}; !slices.Equal(events[0].SourceIPs, want) {
			t.Errorf("source addresses %v, want %v", events[0].SourceIPs, want)
		}
		if got := response.Header.Get("Audit-Id"); got != string(events[0].AuditID) {
			t.Errorf("the client was told audit ID %q, the apiserver logged %q", got, events[0].AuditID)
		}
	})
}
