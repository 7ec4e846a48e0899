package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// defaultGrace is the time between SIGTERM and SIGKILL.
	defaultGrace = 10 * time.Second
	// signalWait bounds how long the kernel may take to show the effect of a signal.
	signalWait = 5 * time.Second
	// processPoll is the time between two looks at a process that is not our child.
	processPoll = 10 * time.Millisecond
)

// Spec says what a process is and how to tell that it works. It holds no secrets: it
// is written to the state file as it is.
type Spec struct {
	// Name is unique within a cluster, like "main-0".
	Name string `json:"name"`
	// Path is the absolute path of the program.
	Path string   `json:"path"`
	Args []string `json:"args,omitempty"`
	// Env is added to the environment of this process.
	Env []string `json:"env,omitempty"`
	// URL is where the process serves, if it does: scheme, host and port.
	URL string `json:"url,omitempty"`
	// LogFile receives standard output and error; it is appended to.
	LogFile string `json:"logFile"`
	// Ready is asked until it answers 200; without a URL the process is ready when
	// it has been started.
	Ready Probe `json:"ready"`
	// Grace is the time between SIGTERM and SIGKILL; 0 means 10 s.
	Grace time.Duration `json:"grace,omitempty"`
	// Detached processes survive their parent and its terminal.
	Detached bool `json:"detached,omitempty"`
}

// Process is a part of a cluster: a program that can be started again and again.
// All methods may be called from several goroutines.
type Process struct {
	spec Spec

	mu sync.Mutex
	// current is the latest run; nil until there is one. Guarded by mu.
	current *child
}

// NewProcess describes a process without starting it.
func NewProcess(spec Spec) *Process {
	if spec.Grace == 0 {
		spec.Grace = defaultGrace
	}
	return &Process{spec: spec}
}

// Name is the process's name within its cluster.
func (p *Process) Name() string { return p.spec.Name }

// URL is where the process serves, "" if it serves nothing.
func (p *Process) URL() string { return p.spec.URL }

// Port is the port of URL, "" if the process serves nothing.
func (p *Process) Port() string {
	u, err := url.Parse(p.spec.URL)
	if err != nil {
		return ""
	}
	return u.Port()
}

// LogFile is the path of the file with its output.
func (p *Process) LogFile() string { return p.spec.LogFile }

// Pid is the process id of the latest run, 0 before the first.
func (p *Process) Pid() int {
	if c := p.latest(); c != nil {
		return c.pid
	}
	return 0
}

// Running tells whether the process exists, paused or not.
func (p *Process) Running() bool {
	c := p.latest()
	return c != nil && c.alive()
}

// Paused tells whether the process exists and is stopped by SIGSTOP.
func (p *Process) Paused() bool {
	c := p.latest()
	if c == nil || !c.alive() {
		return false
	}
	info, err := inspect(c.pid)
	return err == nil && info.stopped
}

// Exited is closed when the latest run of a process that this program started is
// over. It is nil, and blocks for ever, for a process that was never started here.
func (p *Process) Exited() <-chan struct{} {
	if c := p.latest(); c != nil {
		return c.done
	}
	return nil
}

// ExitErr says how the latest run ended: nil while it runs, before the first run,
// after exit code 0, and for a process that another program started.
func (p *Process) ExitErr() error {
	c := p.latest()
	if c == nil || c.done == nil {
		return nil
	}
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Start runs the program and waits until it is ready. If it ends before that, the
// error carries the last lines of its log; if ctx ends first, the process is killed.
// After that the process does not depend on ctx any more. The error is ErrRunning
// when the process runs already.
func (p *Process) Start(ctx context.Context) error {
	if err := p.launch(); err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	if err := p.WaitReady(ctx); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

// launch makes a new child the current one.
func (p *Process) launch() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.current.alive() {
		return fmt.Errorf("%w (pid %d)", ErrRunning, p.current.pid)
	}
	c, err := spawn(p.spec)
	if err != nil {
		return err
	}
	p.current = c
	return nil
}

// WaitReady waits until the process answers its readiness probe. It returns early
// when the process ends, with the last lines of its log.
func (p *Process) WaitReady(ctx context.Context) error {
	c := p.latest()
	if c == nil {
		return fmt.Errorf("wait for %s: %w", p.spec.Name, ErrNotRunning)
	}
	err := p.spec.Ready.wait(ctx, c.alive)
	if err == nil {
		return nil
	}
	if !c.alive() {
		err = fmt.Errorf("it ended: %w", ErrNotRunning)
		if exit := p.ExitErr(); exit != nil {
			err = fmt.Errorf("%w: %w", err, exit)
		}
	}
	return fmt.Errorf("%s is not ready: %w; the last lines of %s:\n%s",
		p.spec.Name, err, p.spec.LogFile, logTail(p.spec.LogFile, c.logOffset))
}

// Stop asks the process to end (SIGTERM), kills it after its grace period or when
// ctx is done, and returns when it is gone. A paused process is resumed first, since
// it could not hear the request. A process that does not run is no error.
func (p *Process) Stop(ctx context.Context) error {
	c := p.latest()
	if c == nil || !c.alive() {
		return nil
	}
	if err := errors.Join(c.signal(syscall.SIGTERM), c.signal(syscall.SIGCONT)); err != nil {
		return ignoreGone(c, fmt.Errorf("stop %s: %w", p.spec.Name, err))
	}
	ctx, cancel := context.WithTimeout(ctx, p.spec.Grace)
	defer cancel()
	if c.wait(ctx) == nil {
		return nil
	}
	return p.Kill()
}

// Kill ends the process at once (SIGKILL) and returns when it is gone. A process that
// does not run is no error.
func (p *Process) Kill() error {
	c := p.latest()
	if c == nil || !c.alive() {
		return nil
	}
	if err := c.signal(syscall.SIGKILL); err != nil {
		return ignoreGone(c, fmt.Errorf("kill %s: %w", p.spec.Name, err))
	}
	ctx, cancel := context.WithTimeout(context.Background(), signalWait)
	defer cancel()
	if err := c.wait(ctx); err != nil {
		return fmt.Errorf("kill %s: pid %d is still there: %w", p.spec.Name, c.pid, err)
	}
	return nil
}

// Pause freezes the process (SIGSTOP): its connections stay open and nobody answers.
// It returns when the process has stopped. The error is ErrNotRunning if it has ended.
func (p *Process) Pause() error { return p.setStopped(syscall.SIGSTOP, true) }

// Resume continues a paused process (SIGCONT). The error is ErrNotRunning if it has
// ended.
func (p *Process) Resume() error { return p.setStopped(syscall.SIGCONT, false) }

// setStopped sends sig and waits until the kernel reports the wanted state.
func (p *Process) setStopped(sig syscall.Signal, want bool) error {
	c := p.latest()
	if c == nil || !c.alive() {
		return fmt.Errorf("signal %s: %w", p.spec.Name, ErrNotRunning)
	}
	if err := c.signal(sig); err != nil {
		return fmt.Errorf("signal %s: %w", p.spec.Name, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), signalWait)
	defer cancel()
	return Poll(ctx, processPoll, func(context.Context) error {
		info, err := inspect(c.pid)
		if err != nil {
			return fmt.Errorf("signal %s: %w", p.spec.Name, err)
		}
		if info.stopped != want {
			return fmt.Errorf("signal %s: %s has no effect yet", p.spec.Name, sig)
		}
		return nil
	})
}

// Restart stops the process if it runs, starts it and waits until it is ready.
func (p *Process) Restart(ctx context.Context) error {
	if err := p.Stop(ctx); err != nil {
		return err
	}
	return p.Start(ctx)
}

func (p *Process) latest() *child {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current
}

// ignoreGone drops an error from signalling a process that ended meanwhile.
func ignoreGone(c *child, err error) error {
	if !c.alive() || errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}
