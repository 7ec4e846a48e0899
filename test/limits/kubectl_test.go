package limits

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestKubectlEditsALimit opens a limit in an editor, as an operator does with any
// object. It is saved twice: the gateway says what is wrong with the first version,
// and the operator is back in the editor.
func TestKubectlEditsALimit(t *testing.T) {
	f := shared(t, theFleet)
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
