// Package architecture keeps the promises that no compiler checks: which way
// packages depend on each other, that each explains itself, and that the
// repository speaks of nothing but the project.
package architecture

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/asi-gateway/asi-gateway"

type goPackage struct {
	ImportPath   string
	Name         string
	Doc          string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Doc,Imports,GoFiles,TestGoFiles,XTestGoFiles", module+"/...")
	list.Stderr = os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// layer orders packages: each may import those below it only, none of its own.
//
//	cmd -> proxy, apiserver, policy -> engines -> request, socket -> apis
func layer(path string) int {
	switch rest := strings.TrimPrefix(path, module+"/"); {
	case strings.HasPrefix(rest, "cmd/"):
		return 4
	case rest == "pkg/proxy", rest == "pkg/apiserver", strings.HasPrefix(rest, "pkg/apiserver/"), rest == "pkg/policy":
		return 3
	case strings.HasPrefix(rest, "pkg/apis/"):
		return 0
	case rest == "pkg/request", rest == "pkg/socket":
		return 1
	case strings.HasPrefix(rest, "pkg/"):
		return 2 // the engines
	default:
		return 5 // tests, benchmarks and tools stand outside
	}
}

// engine is the name of the one that a package is part of, like "cache" of
// pkg/cache/store.
func engine(path string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, module+"/pkg/"), "/")
	return name
}

func TestDependenciesPointOneWay(t *testing.T) {
	checked := 0
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			if !strings.HasPrefix(imported, module+"/") {
				continue
			}
			checked++
			from, to := layer(p.ImportPath), layer(imported)
			inside := strings.HasPrefix(imported, p.ImportPath+"/") ||
				(from == 2 && to == 2 && engine(p.ImportPath) == engine(imported)) || // parts of the cache
				(from == 0 && to == 0) // kinds and their validation
			if from < 5 && to >= from && !inside {
				t.Errorf("%s imports %s: dependencies point from cmd to proxy to the engines to request, and engines do not know each other", p.ImportPath, imported)
			}
		}
	}
	if checked == 0 {
		t.Error("no import was looked at")
	}
}

func TestOnlyProxyWritesHTTP(t *testing.T) {
	for _, p := range packages(t) {
		if layer(p.ImportPath) > 2 {
			continue
		}
		for _, imported := range p.Imports {
			if strings.HasSuffix(imported, "/responsewriters") || strings.HasSuffix(imported, "/httputil") {
				t.Errorf("%s imports %s: engines return values, pkg/proxy writes answers", p.ImportPath, imported)
			}
		}
	}
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		// Of a package of tests alone go list reads no documentation.
		if len(p.GoFiles) > 0 && len(p.Doc) < 40 {
			t.Errorf("%s does not say what it is for: package documentation %q", p.ImportPath, p.Doc)
		}
	}
}

func TestSourceFilesKeepToTheProject(t *testing.T) {
	root, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	err = filepath.WalkDir(strings.TrimSpace(string(root)), func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "testdata" || entry.Name() == "bin") {
			return filepath.SkipDir
		}
		if entry.IsDir() || filepath.Ext(path) != ".go" || strings.HasPrefix(entry.Name(), "zz_generated.") {
			return nil
		}
		files++
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, word := range []string{"TO" + "DO", "FIX" + "ME", "time." + "Sleep("} {
			if strings.Contains(string(source), word) && (word != "time."+"Sleep(" || strings.HasSuffix(path, "_test.go")) {
				t.Errorf("%s contains %s", path, word)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 20 {
		t.Errorf("only %d files were looked at", files)
	}
}
