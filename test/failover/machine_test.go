package failover

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// crowded is from how many processors on, used by others, nothing is said about how
// soon something should have happened. What must happen, or must not, is judged at
// any time.
const crowded = 0.4

// foreigners measures how many processors are used from now on by who is not of
// the test. No process of the cluster may end meanwhile.
func (e *env) foreigners(t *testing.T, sending ...*run) func() float64 {
	t.Helper()
	others := func() float64 {
		sum := machineTime(t) - processorTime(t, os.Getpid())
		for _, r := range sending {
			sum -= processorTime(t, r.process.Process.Pid)
		}
		for _, p := range e.Processes() {
			if p.Running() {
				sum -= processorTime(t, p.Pid())
			}
		}
		return sum
	}
	begun, before := time.Now(), others()
	return func() float64 { return (others() - before) / time.Since(begun).Seconds() }
}

// inTime fails if something took longer than it may, unless others have used the
// machine.
func inTime(t *testing.T, what string, took, most time.Duration, others float64) {
	t.Helper()
	switch {
	case took <= most:
	case others > crowded:
		t.Logf("NOT JUDGED: %s took %s, more than %s, but others use %.1f processors of this machine", what, ms(took), most, others)
	default:
		t.Errorf("%s took %s; want at most %s (others use %.1f processors)", what, ms(took), most, others)
	}
}

// machineTime is what all processes of the machine have used of its processors,
// in seconds.
func machineTime(t *testing.T) float64 {
	t.Helper()
	stat, err := os.ReadFile("/proc/stat")
	must(t, err)
	line, _, _ := strings.Cut(string(stat), "\n")
	const user, nice, system, steal = 1, 2, 3, 8
	return seconds(t, strings.Fields(line), user, nice, system, steal)
}

// processorTime is what a process has used of processors, in seconds.
func processorTime(t *testing.T, pid int) float64 {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	// The name, in brackets, may have spaces in it.
	const user, system = 11, 12
	return seconds(t, strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:])), user, system)
}

// seconds is the sum of fields that the kernel counts in hundredths.
func seconds(t *testing.T, fields []string, which ...int) float64 {
	t.Helper()
	var ticks float64
	for _, i := range which {
		n, err := strconv.ParseFloat(fields[i], 64)
		must(t, err)
		ticks += n
	}
	return ticks / 100
}
