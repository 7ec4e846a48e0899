// Command plot draws what bench has measured, from the JSON that it has written:
//
//	go run -C bench/plot . ../results
//
// It is a module of its own, so that what it takes to draw is no dependency of the
// gateway.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: plot FOLDER, the one with the results of bench")
		os.Exit(2)
	}
	if err := drawAll(os.Args[1]); err != nil {
		fmt.Fprintf(os.Stderr, "plot: %v\n", err)
		os.Exit(1)
	}
}

// drawAll makes every plot there are figures for.
func drawAll(dir string) error {
	drawn := 0
	for _, d := range []struct {
		name string
		from func(dir string, report []byte) error
	}{{"forward", drawForward}, {"cache", drawCache}, {"scale", drawScale}, {"day", drawDay}} {
		report, err := os.ReadFile(filepath.Join(dir, d.name+".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := d.from(dir, report); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		drawn++
	}
	if drawn == 0 {
		return fmt.Errorf("%s has no results: go run ./bench forward, cache, scale or day makes some", dir)
	}
	return nil
}

// decode reads a report.
func decode[R any](text []byte) (report R, err error) {
	err = json.Unmarshal(text, &report)
	return report, err
}
