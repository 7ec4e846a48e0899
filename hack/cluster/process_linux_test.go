package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// helperLog is set in the environment of a test program that plays a parent which is
// killed; its value is the log file of the child.
const helperLog = "CLUSTER_TEST_HELPER_LOG"

// TestHelperParent is no test: it is what TestChildDiesWithItsParent runs.
func TestHelperParent(t *testing.T) {
	log := os.Getenv(helperLog)
	if log == "" {
		t.SkipNow()
	}
	p := NewProcess(Spec{Name: "sleep", Path: "/bin/sleep", Args: []string{"600"}, LogFile: log})
	if err := p.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	fmt.Println(p.Pid())
	<-p.Exited()
}

func TestChildDiesWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0], "-test.run=^TestHelperParent$")
	parent.Env = append(os.Environ(), helperLog+"="+filepath.Join(t.TempDir(), "log"))
	output, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Fscan(bufio.NewReader(output), &pid); err != nil {
		t.Fatal(err)
	}
	if _, err := inspect(pid); err != nil {
		t.Fatalf("the child is not there: %v", err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait() // it was killed: that is the point
	err = Poll(testContext(t, askTimeout), processPoll, func(context.Context) error {
		if _, err := inspect(pid); err == nil {
			return errors.New("the child lives on")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
