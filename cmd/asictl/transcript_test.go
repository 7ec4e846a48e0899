package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// A transcript in testdata is both: the commands of a session, and what they
// print. "2> " marks standard error, "exit N" an exit code that is not 0. Behind
// " < " stands the standard input, or with @ its file. "$ wait 5m" lets time
// pass.
func transcript(t *testing.T, g *gateway, name string) {
	t.Helper()
	t.Setenv("KUBECONFIG", g.config)
	file := filepath.Join("testdata", name+".txt")
	golden, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, line := range strings.Split(string(golden), "\n") {
		command, ok := strings.CutPrefix(line, "$ ")
		if strings.HasPrefix(line, "# ") {
			b.WriteString(line + "\n")
		}
		if !ok {
			continue
		}
		b.WriteString(line + "\n")
		if d, ok := strings.CutPrefix(command, "wait "); ok {
			step, err := time.ParseDuration(d)
			if err != nil {
				t.Fatal(err)
			}
			g.clock.Step(step)
			b.WriteString("\n")
			continue
		}
		command, stdin, _ := strings.Cut(command, " < ")
		if from, ok := strings.CutPrefix(stdin, "@"); ok {
			data, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			stdin = string(data)
		} else if stdin != "" {
			stdin += "\n"
		}
		words := splitWords(command)
		got := runAs(t, g.clock, words[0], stdin, words[1:]...)
		b.WriteString(got.out)
		for _, line := range strings.SplitAfter(got.err, "\n") {
			if line != "" {
				b.WriteString("2> " + strings.TrimSuffix(line, "\n") + "\n")
			}
		}
		if got.code != 0 {
			b.WriteString("exit " + string(rune('0'+got.code)) + "\n")
		}
		b.WriteString("\n")
	}
	compare(t, file, g.scrub(b.String()))
}

var creation = regexp.MustCompile(`creationTimestamp"?: "[^"]+"`)

// scrub hides what is not the same in every run.
func (g *gateway) scrub(text string) string {
	text = strings.NewReplacer(g.front.URL, "https://GATEWAY", runtime.Version(), "GO", runtime.GOOS+"/"+runtime.GOARCH, "OS/ARCH").Replace(text)
	return creation.ReplaceAllStringFunc(text, func(s string) string {
		key, _, _ := strings.Cut(s, ":")
		return key + `: "2026-11-23T03:00:00Z"`
	})
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got == string(want) {
		return
	}
	g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range g {
		if i >= len(w) || g[i] != w[i] {
			t.Errorf("%s:%d differs; if that is meant, run go test ./cmd/asictl -update\ngot  %q", file, i+1, g[i])
			if i < len(w) {
				t.Errorf("want %q", w[i])
			}
			return
		}
	}
	t.Errorf("%s is longer than what was printed", file)
}

// splitWords reads a command line with double quotes.
func splitWords(line string) []string {
	var words []string
	var word strings.Builder
	quoted, any := false, false
	for _, r := range line {
		switch {
		case r == '"':
			quoted, any = !quoted, true
		case r == ' ' && !quoted:
			if any {
				words = append(words, word.String())
			}
			word.Reset()
			any = false
		default:
			word.WriteRune(r)
			any = true
		}
	}
	if any {
		words = append(words, word.String())
	}
	return words
}
