// Command cmd reads a traffic.Plan, one line of JSON, from standard input and
// carries it out until the input ends. What becomes of requests and watches it
// writes to standard output as it happens, a traffic.Line each.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/asi-gateway/asi-gateway/test/failover/traffic"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	input := bufio.NewReader(in)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("reading the plan, which must be one line: %w", err)
	}
	var plan traffic.Plan
	if err := json.Unmarshal(line, &plan); err != nil {
		return fmt.Errorf("reading the plan: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		defer stop()
		_, _ = io.Copy(io.Discard, input)
	}()
	var mu sync.Mutex
	var failed error
	encoder := json.NewEncoder(out)
	err = traffic.Run(ctx, plan, func(line traffic.Line) {
		mu.Lock()
		defer mu.Unlock()
		failed = errors.Join(failed, encoder.Encode(line))
	})
	return errors.Join(err, failed)
}
