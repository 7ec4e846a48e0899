package routing

import "time"

const (
	// maxSilence is how long a server that something is waited for from may send no
	// byte. A live one answers the pings of its probe connection whatever its
	// requests take. No request may wait more than 3 s for one that is frozen: with
	// two silenceTicks until it is noticed that leaves half a second for a busy machine
	// and for the answer of another server.
	maxSilence = 2300 * time.Millisecond
	// maxQuiet is from when on such a server gets a request only if no other is
	// healthy: more than twice the time between two pings. Else a read that was lost
	// on one frozen server would be sent to the next, and wait there again.
	maxQuiet = 1200 * time.Millisecond
	// silenceTick is how often is looked.
	silenceTick = 100 * time.Millisecond
)

// silence measures for how long nothing has come from a server.
type silence struct {
	heard  int64 // Unix ns of the last byte that was taken into account
	looked time.Time
	lasted time.Duration
}

// look tells whether the server has been silent for too long. Heard is when the
// last byte came, waiting whether anything is waited for. Only the time that this
// process could have listened counts: if it was stopped or starved itself, the
// bytes may lie in its sockets.
func (s *silence) look(now time.Time, heard int64, waiting bool) bool {
	passed := min(now.Sub(s.looked), 2*silenceTick)
	s.looked = now
	if heard != s.heard || !waiting {
		s.heard, s.lasted = heard, 0
		return false
	}
	s.lasted += max(0, passed)
	return s.lasted >= maxSilence
}
