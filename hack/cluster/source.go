package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// rootModule is the module whose folder holds hack/cluster/build.
const rootModule = "github.com/asi-gateway/asi-gateway"

// modulesDir returns the folder with the nested modules to build. It is found next
// to this source file, or, when paths were trimmed from the program, by walking up
// from the working directory to the repository's go.mod.
func modulesDir() (string, error) {
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		dir := filepath.Join(filepath.Dir(file), "build")
		if isDir(dir) {
			return dir, nil
		}
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the modules to build: %w", err)
	}
	return modulesDirAbove(wd)
}

// modulesDirAbove looks for the repository in dir and the folders above it.
func modulesDirAbove(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		name, err := moduleName(filepath.Join(at, "go.mod"))
		if err == nil && name == rootModule {
			return filepath.Join(at, "hack", "cluster", "build"), nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no folder at or above %s has the go.mod of %s: run this from inside the repository", dir, rootModule)
		}
	}
}

// moduleName reads the module line of a go.mod file.
func moduleName(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if name, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(name), nil
		}
	}
	return "", errors.Join(fmt.Errorf("%s has no module line", path), lines.Err())
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
