//go:build unix && !linux

package cluster

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// procInfo is what the system says about a pid.
type procInfo struct {
	// ident names the program and its start, so that two processes that get the same
	// pid one after the other differ.
	ident   string
	stopped bool
}

// inspect looks a pid up. It fails for a process that is gone or a zombie.
func inspect(pid int) (procInfo, error) {
	output, err := exec.Command("ps", "-p", strconv.Itoa(pid), "-o", "state=,lstart=,comm=").Output()
	if err != nil {
		return procInfo{}, err
	}
	fields := strings.Fields(string(output))
	if len(fields) < 2 || strings.HasPrefix(fields[0], "Z") {
		return procInfo{}, os.ErrProcessDone
	}
	return procInfo{ident: strings.Join(fields[1:], " "), stopped: strings.HasPrefix(fields[0], "T")}, nil
}

// sysProcAttr keeps the terminal's Ctrl-C from the child, which is ended in order by
// its owner. There is no death signal here: see doc.go.
func sysProcAttr(detached bool) *syscall.SysProcAttr {
	if detached {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true}
}
