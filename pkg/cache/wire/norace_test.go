//go:build !race

package wire

const raceDetector = false

// rounds is how many random objects, or lists of them, a test makes of each kind.
const rounds = 40
