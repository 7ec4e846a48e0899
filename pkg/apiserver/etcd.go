package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

const (
	// startTimeout is far above what a start takes, also after a crash with a
	// full log.
	startTimeout = 30 * time.Second

	// etcdQuota bounds the database: a thousand times what policies need.
	etcdQuota = 512 << 20

	// maxSocketPath is the longest name of a unix socket on Linux.
	maxSocketPath = 107

	socketName = "etcd.sock"
)

// embedded is an etcd in this process, reachable through one unix socket.
type embedded struct {
	server   *embed.Etcd
	endpoint string
	release  func()
	// closing silences etcd: that its listeners close is an error to it.
	closing *atomic.Bool
}

// startEtcd starts etcd in dir and waits until it serves.
func startEtcd(ctx context.Context, dir string, log *zap.Logger) (_ *embedded, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	socket, closeSocketDir, err := socketPath(dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	e := &embedded{endpoint: "unix://" + socket, closing: &atomic.Bool{}, release: func() {
		closeSocketDir()
		_ = lock.Close() // and so unlocks
	}}
	defer func() {
		if err != nil {
			e.close()
		}
	}()

	type result struct {
		server *embed.Etcd
		err    error
	}
	started := make(chan result, 1)
	go func() {
		server, err := runEtcd(etcdConfig(dir, socket, log, e.closing))
		started <- result{server, err}
	}()
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case r := <-started:
		if r.err != nil {
			return nil, fmt.Errorf("the embedded etcd in %s does not start: %w; if its files are damaged, move %s away (policies are then gone unless they are in --policy-dir or a backup)", dir, r.err, filepath.Join(dir, "member"))
		}
		e.server = r.server
	case <-timeout.C:
		return nil, slowStart(dir)
	}
	select {
	case <-e.server.Server.ReadyNotify():
		return e, nil
	case err := <-e.server.Err():
		return nil, fmt.Errorf("the embedded etcd in %s has ended during its start: %w", dir, err)
	case <-timeout.C:
		return nil, slowStart(dir)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func slowStart(dir string) error {
	return fmt.Errorf("the embedded etcd in %s has not started within %s: see whether the disk is full, read-only or very slow", dir, startTimeout)
}

// runEtcd turns what etcd panics about, damaged files above all, into errors.
func runEtcd(config *embed.Config) (e *embed.Etcd, err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = fmt.Errorf("panic: %v", failure)
		}
	}()
	if err := checkDatabase(filepath.Join(config.Dir, "member", "snap", "db")); err != nil {
		return nil, err
	}
	return embed.StartEtcd(config)
}

// checkDatabase opens the database as etcd will: there in a goroutine of its own,
// where a panic ends the process.
func checkDatabase(path string) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	return db.Close()
}

func etcdConfig(dir, socket string, log *zap.Logger, closing *atomic.Bool) *embed.Config {
	c := embed.NewConfig()
	c.Name = "asi-gateway"
	c.Dir = dir
	c.ListenClientUrls = []url.URL{{Scheme: "unix", Path: socket}}
	// Not the path: it is kept in the database, and the directory may move.
	c.AdvertiseClientUrls = []url.URL{{Scheme: "unix", Host: socketName}}
	// A cluster of one has nobody to listen to. The name only has to be the same
	// at every start.
	c.ListenPeerUrls = nil
	c.AdvertisePeerUrls = []url.URL{{Scheme: "unix", Host: "peer"}}
	c.InitialCluster = c.Name + "=unix://peer"
	// It elects itself, which takes about an ElectionMs.
	c.TickMs, c.ElectionMs = 50, 250
	c.EnableGRPCGateway = false
	// The directory's mode is what keeps others out; etcd has no users.
	c.AuthToken = ""
	c.QuotaBackendBytes = etcdQuota
	// History is cut by the store's compactor. Free pages go back at start.
	c.BootstrapDefragThresholdMegabytes = 64
	// As k8s.io/apiserver wants it, for bookmarks of idle watches.
	c.WatchProgressNotifyInterval = 5 * time.Second
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log.WithOptions(
		// etcd tells its whole configuration at level info.
		zap.IncreaseLevel(zap.WarnLevel),
		// It must not end the process. See runEtcd.
		zap.WithFatalHook(zapcore.WriteThenPanic),
		zap.WrapCore(func(core zapcore.Core) zapcore.Core { return quietCore{core, closing} }),
	))
	return c
}

// quietCore drops what etcd says while it closes, and a warning of each start
// about a port that it has not got here.
type quietCore struct {
	zapcore.Core
	closing *atomic.Bool
}

func (c quietCore) With(fields []zapcore.Field) zapcore.Core {
	return quietCore{c.Core.With(fields), c.closing}
}

func (c quietCore) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.closing.Load() || strings.HasPrefix(entry.Message, "Running http and grpc server on single port") {
		return checked
	}
	return c.Core.Check(entry, checked)
}

// close stops etcd. Its clients must have been closed.
func (e *embedded) close() {
	e.closing.Store(true)
	if e.server != nil {
		e.server.Close()
	}
	e.release()
}

// privateDir makes dir, or sees that nobody else can enter it. An existing one
// is not changed: something else may count on its mode.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("data directory %s can be entered by others (mode %04o), who could read and change policies; run: chmod 700 %s", dir, info.Mode().Perm(), shellQuote(dir))
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("data directory %s belongs to user %d, who could read and change policies; run: chown %d %s", dir, stat.Uid, os.Geteuid(), shellQuote(dir))
	}
	return nil
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// lockDir takes the directory for this process. etcd itself would wait for its
// database without end, after it had taken the other process's socket away.
func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	switch err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		owner := make([]byte, 16)
		n, _ := file.ReadAt(owner, 0)
		_ = file.Close()
		return nil, fmt.Errorf("data directory %s is in use by another gateway (process %s); give each gateway its own, or let them share an etcd", dir, strings.TrimSpace(string(owner[:n])))
	case err != nil:
		return nil, errors.Join(fmt.Errorf("data directory %s cannot be locked: %w", dir, err), file.Close())
	}
	// For the message above only.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return file, nil
}

// socketPath returns a name for the socket in dir that is short enough. That of
// a long directory goes through a file descriptor, so it is good for this process
// only; the socket is in dir all the same.
func socketPath(dir string) (string, func(), error) {
	path := filepath.Join(dir, socketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	file, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	through := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	if _, err := os.Stat(through); err != nil {
		return "", nil, errors.Join(fmt.Errorf("data directory %s: its path has %d bytes too many for a socket in it; choose a shorter one", dir, len(path)-maxSocketPath), file.Close())
	}
	return filepath.Join(through, socketName), func() { _ = file.Close() }, nil
}
