package cluster

import (
	"io"
	"os"
	"strings"
)

const (
	// tailLines is how much of an output an error message quotes.
	tailLines = 20
	// tailBytes bounds what is read for it.
	tailBytes = 16 << 10
)

// logTail returns the last lines of the file from offset on, in bytes. What cannot be
// read is left out: the caller already reports a worse error.
func logTail(path string, offset int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	start := max(offset, info.Size()-tailBytes)
	text, err := io.ReadAll(io.NewSectionReader(f, start, tailBytes))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
