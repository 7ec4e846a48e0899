package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// shell is a process that runs a shell script.
func shell(t *testing.T, script string, ready Probe) *Process {
	t.Helper()
	p := NewProcess(Spec{
		Name: "shell", Path: "/bin/sh", Args: []string{"-c", script},
		LogFile: filepath.Join(t.TempDir(), "shell.log"), Ready: ready, Grace: 100 * time.Millisecond,
	})
	t.Cleanup(func() {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// forever is a script that runs until it is killed, with no child of its own.
const forever = "exec sleep 600"

func TestProcessThatEndsAtStartReportsItsLastWords(t *testing.T) {
	never := httptest.NewServer(http.NotFoundHandler())
	defer never.Close()
	p := shell(t, "echo first; echo cannot bind >&2; exit 4", Probe{URL: never.URL})
	for range 2 { // the second time, the log holds the words of both runs
		err := p.Start(t.Context())
		if !errors.Is(err, ErrNotRunning) || strings.Count(err.Error(), "cannot bind") != 1 || !strings.Contains(err.Error(), "exit status 4") {
			t.Fatalf("error %v", err)
		}
	}
}

func TestStartThatIsCancelledLeavesNothingBehind(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int32
	never := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 2 {
			cancel()
		}
		w.WriteHeader(http.StatusNotFound)
	}))
	defer never.Close()
	p := shell(t, forever, Probe{URL: never.URL})
	err := p.Start(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "404") {
		t.Errorf("error %v, want the end and the last answer", err)
	}
	if p.Running() {
		t.Error("the process still runs")
	}
}

func TestProcessIsPausedResumedKilledAndStartedAgain(t *testing.T) {
	p := shell(t, forever, Probe{})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(t.Context()); !errors.Is(err, ErrRunning) {
		t.Errorf("second start: %v, want ErrRunning", err)
	}
	if err := p.Pause(); err != nil || !p.Paused() || !p.Running() {
		t.Errorf("pause: %v, paused %t, running %t", err, p.Paused(), p.Running())
	}
	if err := p.Resume(); err != nil || p.Paused() {
		t.Errorf("resume: %v, paused %t", err, p.Paused())
	}
	first := p.Pid()
	if err := errors.Join(p.Kill(), p.Kill()); err != nil || p.Running() || p.ExitErr() == nil {
		t.Errorf("kill: %v, running %t, exit error %v", err, p.Running(), p.ExitErr())
	}
	<-p.Exited()
	if err := p.Restart(t.Context()); err != nil || p.Pid() == first || p.ExitErr() != nil {
		t.Errorf("restart: %v, pid %d, exit error %v", err, p.Pid(), p.ExitErr())
	}
}

func TestStopWakesAPausedProcessAndKillsADeafOne(t *testing.T) {
	t.Run("paused", func(t *testing.T) {
		p := shell(t, "trap 'exit 0' TERM; while :; do sleep 0.01; done", Probe{})
		if err := errors.Join(p.Start(t.Context()), p.Pause(), p.Stop(t.Context())); err != nil || p.Running() {
			t.Errorf("stop: %v, running %t", err, p.Running())
		}
	})
	t.Run("deaf", func(t *testing.T) {
		p := shell(t, "trap '' TERM; "+forever, Probe{})
		if err := errors.Join(p.Start(t.Context()), p.Stop(t.Context())); err != nil || p.Running() {
			t.Errorf("stop: %v, running %t", err, p.Running())
		}
	})
}

func TestMissingProgramIsAnError(t *testing.T) {
	p := NewProcess(Spec{Name: "none", Path: filepath.Join(t.TempDir(), "none"), LogFile: filepath.Join(t.TempDir(), "log")})
	if err := p.Start(t.Context()); !errors.Is(err, syscall.ENOENT) || p.Running() || p.Pid() != 0 {
		t.Errorf("error %v, running %t, pid %d", err, p.Running(), p.Pid())
	}
}

func TestAdoptedProcessIsSignalledByItsPid(t *testing.T) {
	p := shell(t, forever, Probe{})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The identity is taken again, as saving the state does: at the start the shell had
	// not yet become sleep.
	var ident string
	err := Poll(t.Context(), processPoll, func(context.Context) error {
		info, err := inspect(p.Pid())
		if ident = info.ident; err != nil || !strings.Contains(ident, "sleep") && !strings.Contains(ident, "coreutils") && !strings.Contains(ident, "busybox") {
			return errors.New("still the shell")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	other := adopt(processState{Spec: p.spec, Pid: p.Pid(), Ident: ident})
	if err := errors.Join(other.Pause(), other.Resume(), other.Stop(t.Context())); err != nil || other.Running() {
		t.Errorf("error %v, running %t", err, other.Running())
	}
	<-p.Exited()
}
