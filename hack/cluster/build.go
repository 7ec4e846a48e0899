package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// progressInterval is the time between two lines about a running compilation.
	progressInterval = 15 * time.Second
	// buildStopGrace is what an interrupted `go build` gets to remove its work folder.
	buildStopGrace = 10 * time.Second
)

// BuildOptions says where binaries go and who is told about the progress.
type BuildOptions struct {
	// Dir is the cache folder; empty means DefaultBuildDir.
	Dir string
	// Progress receives a line now and then while something is compiled; nil: none.
	Progress io.Writer
}

// DefaultBuildDir is $ASI_KUBE_DIR, or asi-gateway/kube in the user's cache folder.
func DefaultBuildDir() (string, error) {
	if dir := os.Getenv("ASI_KUBE_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache folder for the Kubernetes binaries (%w): set ASI_KUBE_DIR to a folder of your choice", err)
	}
	return filepath.Join(cache, "asi-gateway", "kube"), nil
}

// Build makes sure that all binaries exist in the right versions and returns their
// folder. What is already there is used as it is; from nothing it takes 12 minutes
// on 2 cores. Callers in several processes may run at once: one builds, the others
// wait. Cancelling ctx stops the compiler.
func Build(ctx context.Context, opts BuildOptions) (binDir string, err error) {
	dir := opts.Dir
	if dir == "" {
		if dir, err = DefaultBuildDir(); err != nil {
			return "", err
		}
	}
	binDir = filepath.Join(dir, versionFolder())
	if err := os.MkdirAll(binDir, 0o755); err != nil {
		return "", fmt.Errorf("create the folder for binaries: %w", err)
	}
	b := &builder{binDir: binDir, progress: orDiscard(opts.Progress)}
	if len(b.missing(ctx)) == 0 {
		return binDir, ctx.Err()
	}
	unlock, err := lockFile(ctx, filepath.Join(binDir, ".lock"), func() {
		b.printf("another process builds into %s: waiting for it", binDir)
	})
	if err != nil {
		return "", err
	}
	defer unlock()
	// Asked again: the holder of the lock may just have built them.
	for _, bin := range b.missing(ctx) {
		if err := b.build(ctx, bin); err != nil {
			return "", err
		}
	}
	return binDir, ctx.Err()
}

// builder builds into one folder.
type builder struct {
	binDir   string
	progress io.Writer
}

func (b *builder) printf(format string, args ...any) {
	fmt.Fprintf(b.progress, format+"\n", args...)
}

// missing returns the binaries that are absent or of another version.
func (b *builder) missing(ctx context.Context) []binary {
	var missing []binary
	for _, bin := range binaries() {
		if !b.present(ctx, bin) {
			missing = append(missing, bin)
		}
	}
	return missing
}

// present tells whether the binary is there in the right version: by its stamp, and
// without a matching stamp by asking the binary, which then gets one.
func (b *builder) present(ctx context.Context, bin binary) bool {
	path := filepath.Join(b.binDir, bin.name)
	want, err := stampOf(path, bin.version)
	if err != nil {
		return false
	}
	if have, err := os.ReadFile(stampPath(path)); err == nil && string(have) == want {
		return true
	}
	output, err := exec.CommandContext(ctx, path, bin.versionArgs...).Output()
	if err != nil || parseVersion(string(output)) != bin.version {
		return false
	}
	// Only a shortcut for the next caller: without it the binary is asked again.
	_ = os.WriteFile(stampPath(path), []byte(want), 0o644)
	return true
}

func stampPath(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".stamp")
}

// stampOf describes the file at path as the given version; size and time are in it
// so that a binary replaced by hand does not pass for the one that was stamped.
func stampOf(path, version string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %d\n", version, info.Size(), info.ModTime().UnixNano()), nil
}

// build compiles one binary into a temporary file and renames it into place.
func (b *builder) build(ctx context.Context, bin binary) error {
	modules, err := modulesDir()
	if err != nil {
		return err
	}
	path := filepath.Join(b.binDir, bin.name)
	temp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid())
	defer os.Remove(temp)
	if err := b.compile(ctx, bin, filepath.Join(modules, bin.module), temp); err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("install %s: %w", bin.name, err)
	}
	if !b.present(ctx, bin) {
		return errors.Join(ctx.Err(), fmt.Errorf("%s was built, but does not report version %s: run it with %q and compare with hack/cluster/versions.go",
			path, bin.version, strings.Join(bin.versionArgs, " ")))
	}
	return nil
}

// compile runs the Go compiler, telling how far it is.
func (b *builder) compile(ctx context.Context, bin binary, module, out string) error {
	// The flags are part of the keys of Go's build cache: a change compiles
	// everything anew.
	cmd := exec.CommandContext(ctx, "go", "build", "-C", module, "-v", "-trimpath", "-buildvcs=false",
		"-ldflags", bin.ldflags, "-o", out, bin.pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// Its own group, so that a cancelled build takes its compilers with it, and a
	// Ctrl-C is not delivered twice.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = buildStopGrace

	output, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("build %s: %w", bin.name, err)
	}
	begin := time.Now()
	b.printf("building %s %s", bin.name, bin.version)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("build %s: start the go command: %w", bin.name, err)
	}
	packages, tail := b.follow(bin.name, output, begin)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("build %s: %w", bin.name, context.Cause(ctx))
		}
		return fmt.Errorf("build %s: %w; its last lines:\n%s", bin.name, err, strings.Join(tail, "\n"))
	}
	b.printf("built %s %s in %s (%d packages compiled)", bin.name, bin.version, time.Since(begin).Round(100*time.Millisecond), packages)
	return nil
}

// follow reads the output of `go build -v`, one line per compiled package, until its
// end. It returns the number of packages and the last lines, for error messages.
func (b *builder) follow(name string, output io.Reader, begin time.Time) (packages int64, tail []string) {
	var count atomic.Int64
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				b.printf("  %s: %s, %d packages compiled", name, time.Since(begin).Round(time.Second), count.Load())
			}
		}
	})
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		count.Add(1)
		tail = append(tail, lines.Text())
		if len(tail) > tailLines {
			tail = tail[1:]
		}
	}
	close(done)
	ticking.Wait()
	return count.Load(), tail
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}
