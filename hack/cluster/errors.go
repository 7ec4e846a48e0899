package cluster

import "errors"

// Errors that callers can tell apart with errors.Is.
var (
	// ErrPortTaken: another program listens on a port that a part needs.
	ErrPortTaken = errors.New("port is taken")
	// ErrRunning: Start was called on a process that runs already.
	ErrRunning = errors.New("process is running")
	// ErrNotRunning: a signal was meant for a process that does not run.
	ErrNotRunning = errors.New("process is not running")
	// ErrNoState: the folder holds no cluster.
	ErrNoState = errors.New("no cluster state")
	// ErrBadState: the state file cannot be understood.
	ErrBadState = errors.New("cluster state is unreadable")
	// ErrClusterUp: the folder belongs to a cluster that runs.
	ErrClusterUp = errors.New("cluster is up")
)
