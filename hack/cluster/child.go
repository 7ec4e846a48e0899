package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
)

// child is one run of a program: started by this process, or adopted by its pid from
// a state file.
type child struct {
	pid int
	// ident is what inspect said about the pid at the start; another answer means
	// that the pid belongs to somebody else by now.
	ident string
	// logOffset is where this run's output begins in the log file, in bytes.
	logOffset int64

	// For a child of ours; nil if adopted. err may be read once done is closed.
	process *os.Process
	done    chan struct{}
	err     error
}

// spawn starts the program. A goroutine owns the child until it has ended.
func spawn(spec Spec) (*child, error) {
	log, offset, err := openLog(spec.LogFile)
	if err != nil {
		return nil, err
	}
	// The child has its own descriptor once it is started.
	defer log.Close()
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = sysProcAttr(spec.Detached)

	c := &child{logOffset: offset, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel watches the thread that forked, not the whole parent: were it
		// to end, the child would be killed.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		c.err = cmd.Wait()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	c.process, c.pid = cmd.Process, cmd.Process.Pid
	// A child that is gone already keeps an identity that nothing else has.
	c.ident = "ended at once"
	if info, err := inspect(c.pid); err == nil {
		c.ident = info.ident
	}
	return c, nil
}

// openLog opens the log for appending and returns its size in bytes.
func openLog(path string) (*os.File, int64, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, 0, fmt.Errorf("create the log folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, 0, fmt.Errorf("open the log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("open the log: %w", err), f.Close())
	}
	return f, info.Size(), nil
}

// alive tells whether this run is not over.
func (c *child) alive() bool {
	if c.done != nil {
		select {
		case <-c.done:
			return false
		default:
			return true
		}
	}
	info, err := inspect(c.pid)
	return err == nil && info.ident == c.ident
}

// identNow is the identity to record. That of a child of ours is taken anew: a script
// may have replaced itself by the program it prepares.
func (c *child) identNow() string {
	if c.done != nil && c.alive() {
		if info, err := inspect(c.pid); err == nil {
			return info.ident
		}
	}
	return c.ident
}

// wait returns nil when the run is over, or ctx's error.
func (c *child) wait(ctx context.Context) error {
	if c.done != nil {
		select {
		case <-c.done:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return Poll(ctx, processPoll, func(context.Context) error {
		if c.alive() {
			return fmt.Errorf("pid %d runs", c.pid)
		}
		return nil
	})
}

// signal sends sig to this very process and never to another that got its pid.
func (c *child) signal(sig syscall.Signal) error {
	if c.process != nil {
		return c.process.Signal(sig)
	}
	// The handle is taken before the identity is checked, so that the pid cannot
	// change hands in between.
	process, err := os.FindProcess(c.pid)
	if err != nil {
		return err
	}
	defer func() { _ = process.Release() }()
	if !c.alive() {
		return os.ErrProcessDone
	}
	return process.Signal(sig)
}
