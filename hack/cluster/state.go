package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// stateVersion changes when older state files cannot be understood any more.
const stateVersion = 1

// state is what state.json holds: enough for another program to find, signal, stop and
// start again what runs.
type state struct {
	Version       int            `json:"version"`
	BinDir        string         `json:"binDir"`
	MainServers   int            `json:"mainServers"`
	BypassServers int            `json:"bypassServers"`
	LeaderElect   bool           `json:"leaderElect,omitempty"`
	Ports         ports          `json:"ports"`
	Processes     []processState `json:"processes"`
}

// processState is a process and its latest run; Pid is 0 if there was none.
type processState struct {
	Spec  Spec   `json:"spec"`
	Pid   int    `json:"pid"`
	Ident string `json:"ident"`
}

// DefaultDir is the folder of `cluster up` and `run`: $ASI_CLUSTER_DIR, or
// asi-gateway/cluster in the user's cache folder.
func DefaultDir() (string, error) {
	if dir := os.Getenv("ASI_CLUSTER_DIR"); dir != "" {
		return filepath.Abs(dir)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the cluster (%w): set ASI_CLUSTER_DIR to a folder of your choice", err)
	}
	return filepath.Join(cache, "asi-gateway", "cluster"), nil
}

// Open returns the cluster whose state is in dir, as another program started it. Its
// processes are known by their pids, which are verified before each use. The error is
// ErrNoState if there is none, ErrBadState if its file is damaged.
func Open(dir string) (*Cluster, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the cluster's folder: %w", err)
	}
	s, err := readState(dir)
	if err != nil {
		return nil, err
	}
	certs, err := loadPKI(filepath.Join(dir, "pki"))
	if err != nil {
		return nil, fmt.Errorf("open the cluster in %s: %w", dir, err)
	}
	opts := Options{
		Dir: dir, BinDir: s.BinDir, MainServers: s.MainServers, BypassServers: s.BypassServers,
		LeaderElect: s.LeaderElect, Detached: true,
	}
	c := &Cluster{opts: opts, dir: dir, binDir: s.BinDir, pki: certs, ports: s.Ports}
	c.opts.Progress = orDiscard(nil)
	c.close = sync.OnceValue(c.stopAll)
	for _, ps := range s.Processes {
		// Started again from here, it has to outlive this program.
		ps.Spec.Detached = true
		c.processes = append(c.processes, adopt(ps))
	}
	return c, nil
}

// adopt makes a process from its state.
func adopt(ps processState) *Process {
	process := NewProcess(ps.Spec)
	if ps.Pid != 0 {
		process.current = &child{pid: ps.Pid, ident: ps.Ident}
	}
	return process
}

// Save writes the state file, so that other programs can see the pids of processes
// that were started again.
func (c *Cluster) Save() error { return c.saveState() }

// saveState replaces the state file.
func (c *Cluster) saveState() error {
	s := state{
		Version: stateVersion, BinDir: c.binDir, LeaderElect: c.opts.LeaderElect, Ports: c.ports,
		MainServers: c.opts.MainServers, BypassServers: c.opts.BypassServers,
	}
	for _, process := range c.Processes() {
		ps := processState{Spec: process.spec}
		if current := process.latest(); current != nil {
			ps.Pid, ps.Ident = current.pid, current.identNow()
		}
		s.Processes = append(s.Processes, ps)
	}
	return writeState(c.dir, s)
}

func statePath(dir string) string { return filepath.Join(dir, "state.json") }

// writeState writes a temporary file and renames it: a reader sees the old state or the
// new one.
func writeState(dir string, s state) error {
	content, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the cluster state: %w", err)
	}
	temp, err := os.CreateTemp(dir, "state.*.tmp")
	if err != nil {
		return fmt.Errorf("write the cluster state: %w", err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(append(content, '\n'))
	if err := errors.Join(err, temp.Close()); err != nil {
		return fmt.Errorf("write the cluster state: %w", err)
	}
	if err := os.Rename(temp.Name(), statePath(dir)); err != nil {
		return fmt.Errorf("write the cluster state: %w", err)
	}
	return nil
}

// readState reads and checks the state file of dir.
func readState(dir string) (state, error) {
	path := statePath(dir)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, fmt.Errorf("%w in %s: start a cluster with `cluster up`, or set ASI_CLUSTER_DIR", ErrNoState, dir)
	}
	if err != nil {
		return state{}, fmt.Errorf("read the cluster state: %w", err)
	}
	var s state
	if err := json.Unmarshal(content, &s); err != nil {
		return state{}, badState(path, err)
	}
	return s, s.check(path)
}

// check makes sure that a state that was read can be worked with.
func (s state) check(path string) error {
	if s.Version != stateVersion {
		return badState(path, fmt.Errorf("its version is %d, not %d", s.Version, stateVersion))
	}
	seen := map[string]bool{}
	for i, ps := range s.Processes {
		switch {
		case ps.Spec.Name == "" || ps.Spec.Path == "":
			return badState(path, fmt.Errorf("processes[%d] lacks a name or a path", i))
		case seen[ps.Spec.Name]:
			return badState(path, fmt.Errorf("processes[%d] is a second %q", i, ps.Spec.Name))
		case ps.Pid < 0 || ps.Pid > 0 && ps.Ident == "":
			return badState(path, fmt.Errorf("processes[%d] has pid %d without an identity", i, ps.Pid))
		}
		seen[ps.Spec.Name] = true
	}
	return nil
}

func badState(path string, err error) error {
	return fmt.Errorf("%w: %s: %w: end the processes it names by hand if they run, and remove the file", ErrBadState, path, err)
}

// checkDown returns ErrClusterUp if dir is the folder of a cluster with a process that
// runs: a second one would share its data.
func checkDown(dir string) error {
	s, err := readState(dir)
	if errors.Is(err, ErrNoState) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, ps := range s.Processes {
		if adopt(ps).Running() {
			return fmt.Errorf("%w in %s (%s has pid %d): end it with `cluster down` or use another folder", ErrClusterUp, dir, ps.Spec.Name, ps.Pid)
		}
	}
	return nil
}

// CloseRecorded stops what the state file of the cluster's folder names and this
// program did not start: parts that another program has started again meanwhile.
func (c *Cluster) CloseRecorded(ctx context.Context) error {
	recorded, err := Open(c.dir)
	if errors.Is(err, ErrNoState) {
		return nil
	}
	if err != nil {
		return err
	}
	return stopMatching(ctx, recorded.Processes(), func(p *Process) bool {
		own := c.Process(p.Name())
		return own == nil || own.Pid() != p.Pid()
	})
}
