package consistency

import (
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// What tests say often.
var (
	must       = fixture.Must
	eventually = fixture.Eventually
)
