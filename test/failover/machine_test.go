package failover

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	// crowded is from how many processors on, used by others, nothing is said about how
	// soon something should have happened. What must happen, or must not, is judged at
	// any time.
	crowded = 0.4
	// still is the same for how long the whole machine has stood still: a virtual one may,
	// and its clock goes on. Nothing of the tests keeps a goroutine waiting for that long.
	still = 250 * time.Millisecond
)

// disturbance is what has kept the test's processes from running.
type disturbance struct {
	// others is how many processors were used by who is not of the test.
	others float64
	// stood is for how long nothing ran, at the longest.
	stood time.Duration
}

func (d disturbance) tooMuch() bool { return d.others > crowded || d.stood > still }

func (d disturbance) String() string {
	return fmt.Sprintf("others use %.1f processors, at the longest the machine stood still for %s", d.others, ms(d.stood))
}

// disturbed measures from now on until it is asked. No process of the cluster may end
// meanwhile.
func (e *env) disturbed(t *testing.T, sending ...*run) func() disturbance {
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
	stood := fixture.Standstills(t)
	begun, before := time.Now(), others()
	return func() disturbance {
		return disturbance{(others() - before) / time.Since(begun).Seconds(), stood.Longest()}
	}
}

// inTime fails if something took longer than it may, unless the machine was not the
// test's meanwhile.
func inTime(t *testing.T, what string, took, most time.Duration, during disturbance) {
	t.Helper()
	switch {
	case took <= most:
	case during.tooMuch():
		t.Logf("NOT JUDGED: %s took %s, more than %s, but %s", what, ms(took), most, during)
	default:
		t.Errorf("%s took %s; want at most %s (%s)", what, ms(took), most, during)
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
