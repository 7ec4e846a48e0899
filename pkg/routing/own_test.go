package routing

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/asi-gateway/asi-gateway/pkg/request"
)

// TestOwnRequestsOnBehalfOfAClientGoWhereItsWouldGo: a gateway that asks for a client
// of low priority must not ask main.
func TestOwnRequestsOnBehalfOfAClientGoWhereItsWouldGo(t *testing.T) {
	main, bypass := server(t, "main"), server(t, "bypass")
	u, _ := upstream(t, mainAndBypass([]string{main.URL}, []string{bypass.URL}), main, bypass)
	u.Update(u.config.Groups, defaultRoutes(), nil)
	ask := func(ctx context.Context) string {
		t.Helper()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://upstream/api/v1/pods", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := u.OwnRequests().RoundTrip(r)
		if err != nil {
			return "nobody"
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	important := attributes(t, "/api/v1/pods", "", "P0")
	low := attributes(t, "/api/v1/pods", "", "P4")
	if got := ask(t.Context()); got != "main" {
		t.Errorf("the gateway's own went to %s", got)
	}
	if got := ask(request.OnBehalf(t.Context(), important)); got != "main" {
		t.Errorf("one for P0 went to %s", got)
	}
	if got := ask(request.OnBehalf(t.Context(), low)); got != "bypass" {
		t.Errorf("one for P4 went to %s", got)
	}
	kill(u, "bypass")
	if got := ask(request.OnBehalf(t.Context(), low)); got != "nobody" {
		t.Errorf("one for P4 went to %s while bypass is gone", got)
	}
	// The request may come of a client's without being made for it.
	if got := ask(request.WithAttributes(t.Context(), low)); got != "main" {
		t.Errorf("the gateway's own went to %s", got)
	}
}
