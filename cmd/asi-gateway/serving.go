package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
)

// servingCertificate returns the certificate of the client port and what keeps
// it up to date. Without files, a self-signed one is made once and kept in the
// data directory, so that clients which trust it still do after a restart.
func servingCertificate(o *options) (dynamiccertificates.CertKeyContentProvider, func(context.Context), error) {
	certFile, keyFile := o.tlsCertFile, o.tlsKeyFile
	if certFile == "" {
		var err error
		if certFile, keyFile, err = selfSigned(o); err != nil {
			return nil, nil, fmt.Errorf("self-signed serving certificate: %w", err)
		}
	}
	pair, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving", certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
	}
	return pair, func(ctx context.Context) { pair.Run(ctx, 1) }, nil
}

func selfSigned(o *options) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(o.dataDir, "serving.crt"), filepath.Join(o.dataDir, "serving.key")
	_, certErr := os.Stat(certFile)
	_, keyErr := os.Stat(keyFile)
	if certErr == nil && keyErr == nil {
		return certFile, keyFile, nil
	}
	if err := errors.Join(unlessMissing(certErr), unlessMissing(keyErr)); err != nil {
		return "", "", err
	}
	host, err := os.Hostname()
	if err != nil {
		return "", "", err
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if ip := net.ParseIP(o.bindAddress); !ip.IsUnspecified() {
		ips = append(ips, ip)
	}
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(host, ips, []string{"localhost"})
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(certFile, certPEM, 0o644)
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
