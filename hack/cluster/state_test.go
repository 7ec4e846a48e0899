package cluster

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestStateFileIsCheckedWhenRead(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		want    error
		text    string
	}{
		"good":           {`{"version":1,"processes":[{"spec":{"name":"etcd","path":"/bin/etcd"},"pid":7,"ident":"x 1"}]}`, nil, ""},
		"never started":  {`{"version":1,"processes":[{"spec":{"name":"etcd","path":"/bin/etcd"}}]}`, nil, ""},
		"empty":          {``, ErrBadState, "unexpected end"},
		"cut":            {`{"version":1,"proc`, ErrBadState, "unexpected end"},
		"no JSON":        {"\x00\x01", ErrBadState, "invalid character"},
		"other version":  {`{"version":2}`, ErrBadState, "version is 2"},
		"wrong type":     {`{"version":1,"processes":[{"pid":"7"}]}`, ErrBadState, "pid"},
		"no name":        {`{"version":1,"processes":[{"spec":{"path":"/bin/etcd"}}]}`, ErrBadState, "processes[0]"},
		"double name":    {`{"version":1,"processes":[{"spec":{"name":"a","path":"/b"}},{"spec":{"name":"a","path":"/b"}}]}`, ErrBadState, "processes[1]"},
		"pid unverified": {`{"version":1,"processes":[{"spec":{"name":"a","path":"/b"},"pid":1}]}`, ErrBadState, "identity"},
		"negative pid":   {`{"version":1,"processes":[{"spec":{"name":"a","path":"/b"},"pid":-1,"ident":"x"}]}`, ErrBadState, "pid -1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(statePath(dir), []byte(test.content), 0o644); err != nil {
				t.Fatal(err)
			}
			_, err := readState(dir)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
				t.Errorf("error %v, want %v with %q", err, test.want, test.text)
			}
		})
	}
	if _, err := Open(t.TempDir()); !errors.Is(err, ErrNoState) {
		t.Errorf("error %v, want ErrNoState", err)
	}
}

func TestPidOfAnotherProcessIsNeitherSignalledNorTakenForOurs(t *testing.T) {
	// Our own pid, with the identity of something else: as if the pid had been reused.
	process := adopt(processState{Spec: Spec{Name: "etcd", Path: "/bin/etcd"}, Pid: os.Getpid(), Ident: "/bin/etcd 1"})
	if process.Running() {
		t.Error("took the test for etcd")
	}
	if err := errors.Join(process.Kill(), process.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	if err := process.Pause(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Pause: %v, want ErrNotRunning", err)
	}
}

func TestFolderOfARunningClusterIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := checkDown(dir); err != nil {
		t.Errorf("empty folder: %v", err)
	}
	info, err := inspect(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ps := processState{Spec: Spec{Name: "etcd", Path: "/bin/etcd"}, Pid: os.Getpid(), Ident: info.ident}
	if err := writeState(dir, state{Version: stateVersion, Processes: []processState{ps}}); err != nil {
		t.Fatal(err)
	}
	if err := checkDown(dir); !errors.Is(err, ErrClusterUp) {
		t.Errorf("error %v, want ErrClusterUp", err)
	}
}
