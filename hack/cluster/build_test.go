package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeBinary writes a program that reports a version and counts how often it is asked.
func fakeBinary(t *testing.T, dir, version string) (bin binary, asked func() int) {
	t.Helper()
	count := filepath.Join(dir, "count")
	script := "#!/bin/sh\necho asked >> " + count + "\necho Fake " + version + "\n"
	if err := os.WriteFile(filepath.Join(dir, "fake"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return binary{name: "fake", version: "v1.2.3", versionArgs: []string{"--version"}}, func() int {
		content, _ := os.ReadFile(count)
		return strings.Count(string(content), "asked")
	}
}

func TestBinaryOfTheRightVersionIsAskedOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	bin, asked := fakeBinary(t, dir, "v1.2.3")
	b := &builder{binDir: dir}
	for range 3 {
		if !b.present(t.Context(), bin) {
			t.Fatal("the binary was not accepted")
		}
	}
	if asked() != 1 {
		t.Errorf("asked %d times, want 1", asked())
	}
	// Replaced by hand: the stamp must not vouch for it.
	fakeBinary(t, dir, "v1.2.30")
	if b.present(t.Context(), bin) {
		t.Error("a binary of another version was accepted")
	}
}

func TestBinaryThatIsMissingOrOfAnotherVersionIsNotPresent(t *testing.T) {
	dir := t.TempDir()
	bin, _ := fakeBinary(t, dir, "v9.9.9")
	b := &builder{binDir: dir}
	if b.present(t.Context(), bin) {
		t.Error("a binary of another version was accepted")
	}
	bin.name = "none"
	if b.present(t.Context(), bin) {
		t.Error("a missing binary was accepted")
	}
}

func TestBuildProgressCountsPackagesAndKeepsTheTail(t *testing.T) {
	var progress bytes.Buffer
	b := &builder{progress: &progress}
	output := strings.Repeat("example.invalid/pkg\n", 100) + "file.go:1: broken\n"
	packages, tail := b.follow("fake", strings.NewReader(output), time.Now())
	if packages != 101 || len(tail) != tailLines || tail[len(tail)-1] != "file.go:1: broken" {
		t.Errorf("%d packages, tail %q", packages, tail)
	}
}

func TestFailedBuildReportsTheCompilersWords(t *testing.T) {
	dir := t.TempDir()
	b := &builder{binDir: dir, progress: t.Output()}
	bin := binary{name: "fake", version: "v1.2.3", pkg: "example.invalid/no/such/package"}
	err := b.compile(t.Context(), bin, dir, filepath.Join(dir, "out"))
	if err == nil || !strings.Contains(err.Error(), "last lines") {
		t.Errorf("error %v", err)
	}
}

func TestLockIsExclusiveAndWaitingCanBeCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lockFile(t.Context(), path, func() { t.Error("waited for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := lockFile(ctx, path, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	unlock()
	again, err := lockFile(t.Context(), path, func() { t.Error("waited for a free lock") })
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestModulesAreFoundFromAnyFolderOfTheRepository(t *testing.T) {
	dir, err := modulesDir()
	if err != nil {
		t.Fatal(err)
	}
	above, err := modulesDirAbove(filepath.Join(dir, "etcd", "deeper"))
	if err != nil || above != dir {
		t.Errorf("%q, %v; want %q", above, err, dir)
	}
	if _, err := modulesDirAbove(t.TempDir()); err == nil {
		t.Error("found the modules outside the repository")
	}
}
