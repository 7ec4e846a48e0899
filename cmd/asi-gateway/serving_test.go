package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
)

func TestSelfSignedCertificateIsKept(t *testing.T) {
	o := newOptions()
	o.dataDir = filepath.Join(t.TempDir(), "data")
	certFile, keyFile, err := selfSigned(o, time.Now(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := selfSigned(o, time.Now(), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(certFile); err != nil || !bytes.Equal(first, second) {
		t.Errorf("a restart made a new certificate: %v", err)
	}
	for file, want := range map[string]os.FileMode{keyFile: 0o600, o.dataDir: 0o700 | os.ModeDir} {
		if info, err := os.Stat(file); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", file, info.Mode(), want, err)
		}
	}
}

func TestSelfSignedCertificateThatDoesNotLastIsMadeAnew(t *testing.T) {
	o := newOptions()
	o.dataDir = t.TempDir()
	core, logs := observer.New(zapcore.WarnLevel)
	made := func(at time.Time) []byte {
		t.Helper()
		certFile, keyFile, err := selfSigned(o, at, zap.New(core))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving", certFile, keyFile); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(certFile)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	const day = 24 * time.Hour
	first := made(time.Now())
	if !bytes.Equal(made(time.Now().Add(330*day)), first) || logs.Len() > 0 {
		t.Errorf("35 days before the end there is a new one, logged %v", logs.All())
	}
	second := made(time.Now().Add(340 * day))
	if bytes.Equal(second, first) || logs.Len() != 1 {
		t.Errorf("25 days before the end: new %t, logged %v", !bytes.Equal(second, first), logs.All())
	}
	if third := made(time.Now().Add(400 * day)); bytes.Equal(third, second) || logs.Len() != 2 {
		t.Error("it has expired and stays")
	}
}

func TestCertificateNamesWhatClientsReachTheHostBy(t *testing.T) {
	network := func(text string) net.Addr {
		ip, prefix, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		prefix.IP = ip
		return prefix
	}
	ips := reachable([]net.Addr{network("127.0.0.1/8"), network("::1/128"), network("10.1.2.3/24"), network("fe80::1/64"), network("2001:db8::1/64")})
	if len(ips) != 2 || ips[0].String() != "10.1.2.3" || ips[1].String() != "2001:db8::1" {
		t.Errorf("reachable %v", ips)
	}

	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for bind, all := range map[string]bool{"0.0.0.0": true, "::": true, "203.0.113.7": false} {
		o := newOptions()
		o.bindAddress = bind
		certPEM, _, err := generate(o)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := leafOf(certPEM)
		if err != nil {
			t.Fatal(err)
		}
		has := func(ip net.IP) bool { return slices.ContainsFunc(leaf.IPAddresses, ip.Equal) }
		for _, ip := range reachable(addresses) {
			if has(ip) != all {
				t.Errorf("listening on %s: %s is a name: %t, want %t", bind, ip, has(ip), all)
			}
		}
		if !has(net.IPv6loopback) || has(net.ParseIP("203.0.113.7")) == all {
			t.Errorf("listening on %s: names %v", bind, leaf.IPAddresses)
		}
	}
}

func TestExpiryIsThatOfTheCertificateServed(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
	write := func(lasts time.Duration) float64 {
		t.Helper()
		certPEM, keyPEM, err := cert.GenerateSelfSignedCertKeyWithOptions(cert.SelfSignedCertKeyOptions{Host: "a", MaxAge: lasts})
		if err != nil {
			t.Fatal(err)
		}
		for file, data := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		leaf, err := leafOf(certPEM)
		if err != nil {
			t.Fatal(err)
		}
		return float64(leaf.NotAfter.Unix())
	}
	first := write(48 * time.Hour)
	serving, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving", certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	gauge := servingExpiry(serving)
	if got := testutil.ToFloat64(gauge); got != first {
		t.Errorf("%v, want %v", got, first)
	}
	second := write(96 * time.Hour)
	if err := serving.RunOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := testutil.ToFloat64(gauge); got != second || got == first {
		t.Errorf("after a reload %v, want %v", got, second)
	}
}
