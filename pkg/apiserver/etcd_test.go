package apiserver

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// trespass is what another user tries, in a process of its own.
type trespass struct{ List, Connect, Read, Lock string }

const trespassVariable = "ASI_GATEWAY_TRESPASS"

// TestTrespasser does nothing by itself; see TestOtherUsersAreKeptOut.
func TestTrespasser(t *testing.T) {
	dir := os.Getenv(trespassVariable)
	if dir == "" {
		t.Skip("runs as a child process of TestOtherUsersAreKeptOut")
	}
	text := func(err error) string {
		if err == nil {
			return "done"
		}
		return err.Error()
	}
	var tried trespass
	_, err := os.ReadDir(dir)
	tried.List = text(err)
	_, err = net.Dial("unix", filepath.Join(dir, socketName))
	tried.Connect = text(err)
	_, err = os.ReadFile(filepath.Join(dir, "member", "snap", "db"))
	tried.Read = text(err)
	_, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR, 0)
	tried.Lock = text(err)
	out, _ := json.Marshal(tried)
	fmt.Printf("\n%s\n", out)
}

func TestOtherUsersAreKeptOut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process as another user")
	}
	// All directories above can be entered.
	parent, err := os.MkdirTemp("/tmp", "asi")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(parent) })
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, "data")
	// Whatever the mask is.
	previous := syscall.Umask(0)
	defer syscall.Umask(previous)
	newFixture(t, func(c *Config) { c.DataDir = dir })

	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Another user cannot enter the directory that go test builds in.
	program := filepath.Join(parent, "trespasser")
	if err := copyFile(program, self); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^TestTrespasser$", "-test.v")
	child.Dir = "/"
	child.Env = []string{trespassVariable + "=" + dir}
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := child.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var tried trespass
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "{") {
			if err := json.Unmarshal([]byte(line), &tried); err != nil {
				t.Fatal(err)
			}
		}
	}
	for what, result := range map[string]string{"list": tried.List, "connect": tried.Connect, "read": tried.Read, "lock": tried.Lock} {
		if !strings.Contains(result, "permission denied") {
			t.Errorf("another user could %s: %q", what, result)
		}
	}
	// And not only because of the directory above all.
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && entry.Type()&fs.ModeSocket == 0 && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// listening returns the inodes of this process's listening TCP sockets.
func listening(t *testing.T) map[string]bool {
	t.Helper()
	own := map[string]bool{}
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skipf("no /proc: %v", err)
	}
	for _, fd := range fds {
		// Some are closed by now.
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	found := map[string]bool{}
	for _, table := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		b, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			const state, inode, listen = 3, 9, "0A"
			if f := strings.Fields(line); len(f) > inode && f[state] == listen && own[f[inode]] {
				found[f[inode]] = true
			}
		}
	}
	return found
}

func TestNoTCPPort(t *testing.T) {
	f := prepare(t, nil)
	before := listening(t)
	if len(before) == 0 {
		t.Fatal("the test's own listener is not seen")
	}
	f.run(t)
	if err := f.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	for inode := range listening(t) {
		if !before[inode] {
			t.Errorf("a TCP socket listens since the start: inode %s", inode)
		}
	}
}

func TestDataDirectoryMustBePrivate(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := prepare(t, func(c *Config) { c.DataDir = dir })
	err := f.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "chmod 700 '"+dir+"'") {
		t.Errorf("open to others: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f = prepare(t, func(c *Config) { c.DataDir = file })
	if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file: %v", err)
	}
	if os.Geteuid() == 0 {
		foreign := filepath.Join(t.TempDir(), "foreign")
		if err := os.Mkdir(foreign, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(foreign, 65534, 65534); err != nil {
			t.Fatal(err)
		}
		f = prepare(t, func(c *Config) { c.DataDir = foreign })
		if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "chown 0 ") {
			t.Errorf("of another user: %v", err)
		}
	}
}

func TestSecondGatewayOnTheSameDirectory(t *testing.T) {
	first := newFixture(t, nil)
	second := prepare(t, func(c *Config) { c.DataDir = first.config.DataDir })
	err := second.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("in use by another gateway (process %d)", os.Getpid())) {
		t.Errorf("a second one: %v", err)
	}
	// The first has not noticed.
	if _, err := objects(t, first.ClientConfig(), "ratelimits").Create(t.Context(), rateLimitNamed("a"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	third := newFixture(t, func(c *Config) { c.DataDir = first.config.DataDir })
	if _, err := objects(t, third.ClientConfig(), "ratelimits").Get(t.Context(), "a", metav1.GetOptions{}); err != nil {
		t.Errorf("after the first has ended: %v", err)
	}
}

func TestLongPathOfTheDataDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30))
	f := newFixture(t, func(c *Config) { c.DataDir = dir })
	if _, err := objects(t, f.ClientConfig(), "ratelimits").Create(t.Context(), rateLimitNamed("a"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, socketName)); err != nil || info.Mode()&fs.ModeSocket == 0 {
		t.Errorf("the socket is elsewhere: %v, %v", info, err)
	}
}

func TestDataSurvivesRestartAndMove(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	f := newFixture(t, func(c *Config) { c.DataDir = dir })
	before, err := objects(t, f.ClientConfig(), "switches").Create(t.Context(), switchNamed("s"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.stop(); err != nil {
		t.Fatal(err)
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	f = newFixture(t, func(c *Config) { c.DataDir = moved })
	after, err := objects(t, f.ClientConfig(), "switches").Get(t.Context(), "s", metav1.GetOptions{})
	if err != nil || after.GetResourceVersion() != before.GetResourceVersion() || after.GetUID() != before.GetUID() {
		t.Errorf("%v, %v", after, err)
	}
}

func TestDamagedDataIsAnError(t *testing.T) {
	for name, files := range map[string]string{"database": "member/snap/db", "log": "member/wal/*.wal"} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			if err := f.stop(); err != nil {
				t.Fatal(err)
			}
			dir := f.config.DataDir
			paths, err := filepath.Glob(filepath.Join(dir, files))
			if err != nil || len(paths) == 0 {
				t.Fatalf("%v, %v", paths, err)
			}
			for _, path := range paths {
				if err := os.WriteFile(path, []byte("these are not the bytes of etcd"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err = prepare(t, func(c *Config) { c.DataDir = dir }).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), "move "+dir+"/member away") {
				t.Errorf("%v", err)
			}
			t.Log(err)
		})
	}
}
