package failover

import (
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// What tests say often.
var (
	must       = fixture.Must
	eventually = fixture.Eventually
	within     = fixture.Within
	pause      = fixture.Pause
)

// ms is a duration for people.
func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
