package cluster

import (
	"errors"
	"os"
	"testing"
)

func FuzzReadState(f *testing.F) {
	for _, seed := range []string{"", "{}", `{"version":1}`, `{"version":1,"processes":[{"spec":{"name":"a","path":"/a"},"pid":-1}]}`, "[1", `{"version":1,"processes":null}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(statePath(dir), content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := readState(dir)
		if err != nil {
			if !errors.Is(err, ErrBadState) {
				t.Fatalf("error %v, want ErrBadState", err)
			}
			return
		}
		for _, p := range s.Processes {
			// A signal goes to these: 0 and negative ones mean whole groups.
			if p.Pid < 0 || p.Pid > 0 && p.Ident == "" {
				t.Fatalf("accepted pid %d with identity %q", p.Pid, p.Ident)
			}
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, seed := range []string{"Kubernetes v1.37.2", "etcd Version: 3.7.3\nGit SHA: x", "kwok version v0.8.0 go1.26", "", "1..2", "v1.2.3-rc.0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, output string) {
		if v := parseVersion(output); v != "" && (v[0] != 'v' || !isVersionNumber(v[1:])) {
			t.Fatalf("parseVersion(%q) = %q", output, v)
		}
	})
}
