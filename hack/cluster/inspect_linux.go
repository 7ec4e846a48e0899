package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// procInfo is what the kernel says about a pid.
type procInfo struct {
	// ident names the program and its start, so that two processes that get the same
	// pid one after the other differ.
	ident   string
	stopped bool
}

// Positions of fields in /proc/PID/stat, counted from the one after the program's
// name (see proc_pid_stat(5), where that one is number 3).
const (
	statState     = 0
	statStartTime = 19
)

// inspect looks a pid up. It fails for a process that is gone or a zombie.
func inspect(pid int) (procInfo, error) {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return procInfo{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procInfo{}, err
	}
	// The name, in parentheses, may hold blanks and parentheses itself.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) <= statStartTime {
		return procInfo{}, errors.New("/proc/PID/stat is shorter than known")
	}
	if fields[statState] == "Z" {
		return procInfo{}, os.ErrProcessDone
	}
	return procInfo{
		// A rebuilt program has been renamed over the one that runs.
		ident:   strings.TrimSuffix(exe, " (deleted)") + " " + fields[statStartTime],
		stopped: fields[statState] == "T",
	}, nil
}

// sysProcAttr keeps the terminal's Ctrl-C from the child, which is ended in order by
// its owner, and has it killed when its owner dies, unless it is detached.
func sysProcAttr(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
