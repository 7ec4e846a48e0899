package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// execute runs the command line and returns what it printed.
func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCommandsWithoutAClusterSayWhatToDo(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"status"}, {"kill", "main-0"}, {"pause", "main-0"}, {"resume", "main-0"}, {"restart", "main-0"}} {
		_, err := execute(t, append(args, "--dir", dir)...)
		if !errors.Is(err, cluster.ErrNoState) || !strings.Contains(err.Error(), "cluster up") {
			t.Errorf("%s: error %v", args, err)
		}
	}
	if out, err := execute(t, "down", "--dir", dir); err != nil || !strings.Contains(out, "no cluster") {
		t.Errorf("down: %q, %v", out, err)
	}
}

func TestDamagedStateIsReportedAndNothingEnded(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "state.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"status", "down", "up"} {
		if _, err := execute(t, command, "--dir", dir); !errors.Is(err, cluster.ErrBadState) {
			t.Errorf("%s: error %v, want ErrBadState", command, err)
		}
	}
}

func TestRunChecksItsFlagsBeforeStartingAnything(t *testing.T) {
	dir := t.TempDir()
	if _, err := execute(t, "run", "--dir", dir); err == nil || !strings.Contains(err.Error(), "gateway") {
		t.Errorf("without a gateway: %v", err)
	}
	if _, err := execute(t, "run", "--dir", dir, "--gateway", filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with a gateway that is not there: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
}
