//go:build race

package wire

const raceDetector = true

// rounds is how many random objects, or lists of them, a test makes of each kind.
const rounds = 8
