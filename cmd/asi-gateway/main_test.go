package main

import (
	"bytes"
	"context"
	"flag"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestFlags keeps the command line, which people script, as a golden file.
func TestFlags(t *testing.T) {
	golden := filepath.Join("testdata", "flags.txt")
	got := []byte(newOptions().flags().FlagUsagesWrapped(100))
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the flags have changed; if that is meant, run go test ./cmd/asi-gateway -update\n%s", got)
	}
}

func TestBadCommandLineNamesTheFlag(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	good := filepath.Join(t.TempDir(), "kubeconfig")
	for _, tc := range []struct {
		args []string
		want []string
	}{
		{nil, []string{"--kubeconfig", "needed"}},
		{[]string{"--kubeconfig", good, "--secure-port", "70000"}, []string{"--secure-port", "70000"}},
		{[]string{"--kubeconfig", good, "--bind-address", "localhost"}, []string{"--bind-address", "localhost"}},
		{[]string{"--kubeconfig", good, "--ops-bind-address", "nowhere"}, []string{"--ops-bind-address"}},
		{[]string{"--kubeconfig", good, "--ops-bind-address", "a:b"}, []string{"--ops-bind-address", `"b"`}},
		{[]string{"--kubeconfig", good, "--proxy-protocol-from", "192.0.2.10"}, []string{"--proxy-protocol-from", `"192.0.2.10"`, "192.0.2.10/32"}},
		{[]string{"--kubeconfig", good, "--proxy-protocol-from", "10.0.0.0/8,192.0.2.10/24"}, []string{"--proxy-protocol-from", "begins at 192.0.2.0/24"}},
		{[]string{"--kubeconfig", good, "--proxy-protocol-from", "::ffff:192.0.2.0/120", "--goaway-chance", "0.03"}, []string{"--proxy-protocol-from", "--goaway-chance", "0.03", "0.02"}},
		{[]string{"--kubeconfig", good, "--goaway-chance", "NaN"}, []string{"--goaway-chance", "NaN"}},
		{[]string{"--kubeconfig", good, "--goaway-chance", "-0.001"}, []string{"--goaway-chance", "-0.001"}},
		{[]string{"--kubeconfig", good, "--tls-cert-file", "x"}, []string{"--tls-private-key-file", "both or neither"}},
		{[]string{"--kubeconfig", good, "--proxy-client-key-file", "x"}, []string{"--proxy-client-cert-file", "both or neither"}},
		{[]string{"--kubeconfig", good, "--main-servers", "http://a"}, []string{"--main-servers", "https://HOST:PORT"}},
		{[]string{"--kubeconfig", good, "--bypass-servers", "https://a/b"}, []string{"--bypass-servers", "https://HOST:PORT"}},
		{[]string{"--kubeconfig", good, "--main-servers", "https://a:1,https://b:1,https://a:1"}, []string{"--main-servers", "Duplicate", "https://a:1"}},
		{[]string{"--kubeconfig", good, "--bypass-servers", "https://a:70000"}, []string{"--bypass-servers", "https://a:70000"}},
		{[]string{"--kubeconfig", good, "--main-servers", "https://a:1" + strings.Repeat(",https://a", 64)}, []string{"--main-servers", "at most 64"}},
		{[]string{"--kubeconfig", good, "--etcd-servers", "https://a:2379,http://10.0.0.1:2379"}, []string{"--etcd-servers", `"http://10.0.0.1:2379"`, "loopback"}},
		{[]string{"--kubeconfig", good, "--etcd-servers", "http://etcd:2379"}, []string{"--etcd-servers", `"http://etcd:2379"`}},
		{[]string{"--kubeconfig", good, "--etcd-servers", "ftp://a"}, []string{"--etcd-servers", "https://HOST:PORT"}},
		{[]string{"--kubeconfig", good, "--redis-password-file", "x"}, []string{"--redis-password-file", "--redis"}},
		{[]string{"--kubeconfig", good, "--request-timeout", "1ms", "--outage-auth-ttl", "-1s"}, []string{"--request-timeout", "--outage-auth-ttl"}},
		{[]string{"--kubeconfig", good, "--cache-resources", "pods,gadgets"}, []string{"--cache-resources", `"gadgets"`, "deployments.apps", "widgets.v1.example.com"}},
		{[]string{"--kubeconfig", good, "--cache-resources", "events"}, []string{"--cache-resources", `"events"`}},
		{[]string{"--kubeconfig", good, "--cache-resources", "leases.v1.coordination.k8s.io"}, []string{"--cache-resources", "cannot be cached"}},
		{[]string{"--kubeconfig", good, "--cache-resources", "UPPER.v1.example.com"}, []string{"--cache-resources", "spec.resource"}},
		{[]string{"--kubeconfig", good, "--log-level", "loud", "--log-format", "xml"}, []string{"--log-level", "--log-format"}},
		{[]string{"--kubeconfig", good}, []string{"--kubeconfig", "no such file"}},
		{[]string{"--kubeconfig", good, "serve"}, []string{`"serve"`}},
		{[]string{"--nonsense"}, []string{"nonsense"}},
	} {
		err := run(context.Background(), tc.args, &bytes.Buffer{}, &bytes.Buffer{})
		if err == nil {
			t.Errorf("%v was accepted", tc.args)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %q does not say %s", tc.args, err, want)
			}
		}
	}
}

func TestPlainEtcdIsForLoopback(t *testing.T) {
	for server, want := range map[string]bool{
		"https://10.0.0.1:2379": true, "unix:///run/etcd": true, "http://127.0.0.1:2379": true, "http://[::1]:2379": true, "http://localhost:2379": true,
		"http://10.0.0.1:2379": false, "http://localhost.example.com": false, "http://": false, "etcd:2379": false, "%zz": false,
	} {
		if got := isEtcdURL(server); got != want {
			t.Errorf("%q: %t, want %t", server, got, want)
		}
	}
}

func TestInsecureKubeconfigIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, []byte(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1", insecure-skip-tls-verify: true}}]
contexts: [{name: c, context: {cluster: c, user: ""}}]
current-context: c
`), 0o600); err != nil {
		t.Fatal(err)
	}
	err := run(context.Background(), []string{"--kubeconfig", file, "--data-dir", t.TempDir()}, &bytes.Buffer{}, &bytes.Buffer{})
	if err == nil || !strings.Contains(err.Error(), "insecure-skip-tls-verify") {
		t.Errorf("error %v", err)
	}
}

func TestVersion(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--version"}, &out, &bytes.Buffer{}); err != nil || out.String() != "asi-gateway dev\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}

func TestHelpIsStandardOutput(t *testing.T) {
	var out, errOut bytes.Buffer
	if err := run(context.Background(), []string{"--help"}, &out, &errOut); err != nil || errOut.Len() > 0 || !strings.Contains(out.String(), "--kubeconfig FILE") {
		t.Errorf("%q on standard output, %q on standard error, %v", out.String(), errOut.String(), err)
	}
	out.Reset()
	if err := run(context.Background(), []string{"--nonsense"}, &out, &errOut); err == nil || out.Len() > 0 {
		t.Errorf("of an error %q is on standard output, %v", out.String(), err)
	}
}

func FuzzServers(f *testing.F) {
	for _, seed := range []string{"https://a:1", "http://a", "https://", "https://u:p@a", "https://a?q", "https://[::1]:1", "%zz"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, server string) {
		group, err := newOptions().flaggedGroup("main", []string{server})
		if err != nil {
			return
		}
		if u, err := url.Parse(group.Spec.Servers[0].URL); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
			t.Fatalf("%q was accepted as %v", server, u)
		}
	})
}

func FuzzRanges(f *testing.F) {
	for _, seed := range []string{"192.0.2.10/32", "2001:db8::/64", "10.0.0.1/8", "::ffff:10.0.0.0/104", "10.0.0.0/33", "fe80::%eth0/10", "10.0.0.0/08", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ranges, err := parseRanges([]string{text})
		if err != nil {
			return
		}
		// Who is in a range may say who the client is, so it must be what it looks like.
		r := ranges[0]
		if !r.IsValid() || r.String() != text && netip.MustParsePrefix(r.String()) != r || !r.Contains(r.Addr()) || r.Addr().Is4In6() || r.Addr().Zone() != "" {
			t.Errorf("%q was accepted as %v", text, r)
		}
	})
}
