package limits

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// nobody is a user of the machine who is not the gateway's.
const nobody = 65534

// TestStoreIsClosedToOtherUsers has another user of the machine try what the
// gateway keeps, and looks at what the gateway listens on.
func TestStoreIsClosedToOtherUsers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("sockets of a process are told by Linux' /proc")
	}
	c, helper := fixture.Shared(t, theCluster), fixture.Shared(t, intruder)
	// Everybody may enter the folder around it.
	data := filepath.Join(fixture.Shared(t, suite.Dir), "data")
	ctx := within(t, time.Minute)
	g, err := fixture.AddGateway(ctx, c, fixture.Shared(t, suite.Gateway), "closed", fixture.FrontProxy, "--data-dir", data)
	must(t, err)
	t.Cleanup(func() {
		if err := errors.Join(g.Stop(context.Background()), g.Panics()); err != nil {
			t.Error(err)
		}
	})
	newOperator(t, g).limit("kept", "{qps: 1k}", g)

	var paths []string
	sockets := 0
	must(t, filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.Type()&fs.ModeSocket != 0 {
			sockets++
		}
		if entry.Type().IsRegular() && info.Mode().Perm()&0o022 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		paths = append(paths, path)
		return nil
	}))
	if sockets == 0 || len(paths) < 5 {
		t.Fatalf("%d sockets, paths %v", sockets, paths)
	}
	info, err := os.Stat(data)
	must(t, err)
	if info.Mode().Perm() != 0o700 {
		t.Errorf("the data directory has mode %s", info.Mode())
	}

	t.Run("listeners", func(t *testing.T) { onlyTwoListeners(t, g, data) })

	t.Run("another user", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("only root can become another user")
		}
		attempt := func(uid uint32) string {
			cmd := exec.CommandContext(ctx, helper, paths...)
			cmd.Dir = "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return string(out)
		}
		if out := attempt(nobody); out != "" {
			t.Errorf("another user has succeeded:\n%s", out)
		}
		// The gateway's own user can, so the attempts are real.
		if out := attempt(0); !strings.Contains(out, "connected to") || !strings.Contains(out, "listed") || !strings.Contains(out, "read") {
			t.Errorf("the gateway's own user was stopped, too:\n%s", out)
		}
		// What it made is in nobody's way.
		for _, path := range paths {
			_ = os.Remove(filepath.Join(path, "intruder"))
		}
	})
}

// onlyTwoListeners fails if the gateway listens on more than its two ports, or on
// unix sockets outside of its directory.
func onlyTwoListeners(t *testing.T, g *fixture.Gateway, data string) {
	t.Helper()
	mine := map[string]bool{}
	descriptors := fmt.Sprintf("/proc/%d/fd", g.Pid())
	entries, err := os.ReadDir(descriptors)
	must(t, err)
	for _, entry := range entries {
		// One that is closed meanwhile is none of interest.
		if link, err := os.Readlink(filepath.Join(descriptors, entry.Name())); err == nil && strings.HasPrefix(link, "socket:[") {
			mine[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = true
		}
	}
	var ports []string
	for _, table := range []string{"tcp", "tcp6"} {
		for _, fields := range socketTable(t, g.Pid(), table) {
			const state, inode, listening = 3, 9, "0A"
			if fields[state] != listening || !mine[fields[inode]] {
				continue
			}
			_, hex, _ := strings.Cut(fields[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			must(t, err)
			ports = append(ports, strconv.FormatUint(port, 10))
		}
	}
	slices.Sort(ports)
	want := []string{g.Port(), g.OpsURL[strings.LastIndexByte(g.OpsURL, ':')+1:]}
	slices.Sort(want)
	if !slices.Equal(ports, want) {
		t.Errorf("the gateway listens on TCP ports %v, want %v", ports, want)
	}
	inDirectory := 0
	for _, fields := range socketTable(t, g.Pid(), "unix") {
		const flags, inode, path, accepts = 3, 6, 7, "00010000"
		if fields[flags] != accepts || !mine[fields[inode]] {
			continue
		}
		if len(fields) <= path || !strings.HasPrefix(fields[path], data+"/") {
			t.Errorf("the gateway listens on a unix socket elsewhere: %q", fields)
			continue
		}
		inDirectory++
	}
	if inDirectory == 0 {
		t.Error("the gateway's own store was not found")
	}
}

// socketTable reads a table of the kernel as the process sees it.
func socketTable(t *testing.T, pid int, name string) (rows [][]string) {
	t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, name))
	must(t, err)
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Scan() // the heading
	for lines.Scan() {
		rows = append(rows, strings.Fields(lines.Text()))
	}
	must(t, lines.Err())
	return rows
}
