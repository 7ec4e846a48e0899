package routing

import "time"

const (
	// maxSilence is how long a server that something is waited for from may send no
	// byte. A live one answers the pings of its probe connection whatever its
	// requests take. No request may wait more than 3 s for one that is frozen: with
	// two silenceTicks until it is noticed that leaves half a second for a busy machine
	// and for the answer of another server.
	maxSilence = 2300 * time.Millisecond
	// maxQuiet is from when on a server gets a request only if no other is healthy,
	// whether or not something was waited for: more than twice the time between two
	// pings. Else a read that was taken from one frozen server would be sent to the next,
	// and wait there again.
	maxQuiet = 1200 * time.Millisecond
	// minListened is for how much of maxSilence this process must have been able to
	// listen: if it was stopped or starved itself, what the server has sent may lie in its
	// sockets. It is the time between three pings.
	minListened = 1500 * time.Millisecond
	// silenceTick is how often is looked.
	silenceTick = 100 * time.Millisecond
)

// silence measures for how long nothing has come from a server.
type silence struct {
	heard  int64 // Unix ns of the last byte that was taken into account
	looked time.Time
	// still is since then, as far as this process has been running, which shows in when
	// it has looked.
	still time.Duration
	// lasted is for how long of that something was waited for, and listened how much of
	// it this process has been running.
	lasted, listened time.Duration
}

// look tells whether the server has been silent for too long. Heard is when the
// last byte came, waiting whether anything is waited for.
func (s *silence) look(now time.Time, heard int64, waiting bool) bool {
	passed := max(0, now.Sub(s.looked))
	running := min(passed, 2*silenceTick)
	s.looked = now
	if heard != s.heard {
		s.heard, s.still = heard, 0
		s.forget()
		return false
	}
	s.still += running
	if !waiting {
		s.forget()
		return false
	}
	s.lasted += passed
	s.listened += running
	return s.lasted >= maxSilence && s.listened >= minListened
}

// forget has the time for which something was waited for begin anew.
func (s *silence) forget() { s.lasted, s.listened = 0, 0 }
