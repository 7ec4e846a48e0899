package limits

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// TestKubectlEditsALimit opens a limit in an editor, as an operator does with any
// object. It is saved twice: the gateway says what is wrong with the first version,
// and the operator is back in the editor.
func TestKubectlEditsALimit(t *testing.T) {
	f := fixture.Shared(t, theFleet)
	o := newOperator(t, f.gateways[0])
	o.limit("edited", `{match: {clients: {userAgents: [edited]}}, qps: 100k, burst: 100000}`, f.gateways...)
	c := adminClient(t, f.gateways[replicas-1], "edited")
	must(t, c.finds(t.Context(), true))

	editor := filepath.Join(t.TempDir(), "editor.sh")
	must(t, os.WriteFile(editor, []byte(`#!/bin/sh
if grep -q 'qps: 100k' "$1"; then exec sed -i 's/qps: 100k/qps: "-1"/' "$1"; fi
grep -q '^# .*spec.qps: Invalid value' "$1" || { cat "$1"; exit 1; }
exec sed -i 's/qps: "-1"/qps: "0"/' "$1"
`), 0o700))
	s := newShell(t, f)
	cmd := s.kubectl(t, "edit", "ratelimit", "edited")
	cmd.Env = append(cmd.Env, "KUBE_EDITOR="+editor)
	if out := run(t, cmd); !strings.Contains(out, "ratelimit.gateway.asi.io/edited edited") {
		t.Errorf("kubectl says: %s", out)
	}
	eventually(t, 5*time.Second, func(ctx context.Context) error { return c.finds(ctx, false) })
}

// TestKubectlWatchesLimits leaves `kubectl get -w` running while limits change: the
// gateway serves that watch itself.
func TestKubectlWatchesLimits(t *testing.T) {
	f := fixture.Shared(t, theFleet)
	o := newOperator(t, f.gateways[replicas-1])
	o.limit("watched", `{match: {clients: {userAgents: [watched]}}, qps: 1}`, f.gateways...)

	cmd := newShell(t, f).kubectl(t, "get", "ratelimits", "-w", "--output-watch-events",
		"-o", `jsonpath={.type} {.object.metadata.name} {.object.spec.qps}{"\n"}`)
	stdout, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	var seen []string
	sees := func(line string) {
		t.Helper()
		for lines.Scan() {
			if seen = append(seen, lines.Text()); lines.Text() == line {
				return
			}
		}
		t.Fatalf("kubectl ended (%v) without %q, after %q", lines.Err(), line, seen)
	}
	// What there is comes first, so that the watch begins behind it.
	sees("ADDED watched 1")
	must(t, o.patch(t.Context(), "RateLimit", "watched", `{"spec":{"qps":"2"}}`))
	sees("MODIFIED watched 2")
	must(t, o.remove(t.Context(), "RateLimit", "watched"))
	sees("DELETED watched 2")
	must(t, cmd.Process.Signal(os.Interrupt))
	// It may end by the signal, or say that the watch was.
	_ = cmd.Wait()
}
