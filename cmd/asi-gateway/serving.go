package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/util/cert"
)

// renewBefore is how long a self-signed certificate must still last at a start. One
// lasts a year.
const renewBefore = 30 * 24 * time.Hour

// servingCertificate returns the certificate of the client port and what keeps
// it up to date. Without files, a self-signed one is made and kept in the data
// directory, so that clients which trust it still do after a restart.
func servingCertificate(o *options, log *zap.Logger) (dynamiccertificates.CertKeyContentProvider, func(context.Context), error) {
	certFile, keyFile := o.tlsCertFile, o.tlsKeyFile
	if certFile == "" {
		var err error
		if certFile, keyFile, err = selfSigned(o, time.Now(), log); err != nil {
			return nil, nil, fmt.Errorf("self-signed serving certificate: %w", err)
		}
	}
	pair, err := dynamiccertificates.NewDynamicServingContentFromFiles("serving", certFile, keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)
	}
	return pair, func(ctx context.Context) { pair.Run(ctx, 1) }, nil
}

// selfSigned returns the files of the certificate in the data directory, and makes
// them if there are none or the certificate does not last.
func selfSigned(o *options, now time.Time, log *zap.Logger) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(o.dataDir, "serving.crt"), filepath.Join(o.dataDir, "serving.key")
	_, certErr := os.Stat(certFile)
	_, keyErr := os.Stat(keyFile)
	if err := errors.Join(unlessMissing(certErr), unlessMissing(keyErr)); err != nil {
		return "", "", err
	}
	if certErr == nil && keyErr == nil {
		expires, err := expiryOf(certFile)
		if err != nil || expires.Sub(now) > renewBefore {
			return certFile, keyFile, err
		}
		log.Warn("a new self-signed serving certificate is made, since the old one does not last: clients must be given the new one to trust",
			zap.String("file", certFile), zap.Time("expires", expires))
	}
	certPEM, keyPEM, err := generate(o)
	if err != nil {
		return "", "", err
	}
	if err := os.MkdirAll(o.dataDir, 0o700); err != nil {
		return "", "", err
	}
	// The certificate goes first and comes last: a gateway that ends in between makes
	// both anew, and has no pair that does not match.
	if err := unlessMissing(os.Remove(certFile)); err != nil {
		return "", "", err
	}
	if err := os.WriteFile(keyFile, keyPEM, 0o600); err != nil {
		return "", "", err
	}
	return certFile, keyFile, os.WriteFile(certFile, certPEM, 0o644)
}

// generate makes a certificate for the names by which clients may reach the host.
func generate(o *options) (certPEM, keyPEM []byte, err error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if ip := net.ParseIP(o.bindAddress); !ip.IsUnspecified() {
		ips = append(ips, ip)
	} else {
		addresses, err := net.InterfaceAddrs()
		if err != nil {
			return nil, nil, err
		}
		ips = append(ips, reachable(addresses)...)
	}
	return cert.GenerateSelfSignedCertKey(host, ips, []string{"localhost"})
}

// reachable are the addresses that other hosts can know the host by.
func reachable(addresses []net.Addr) []net.IP {
	var ips []net.IP
	for _, address := range addresses {
		if prefix, ok := address.(*net.IPNet); ok && prefix.IP.IsGlobalUnicast() {
			ips = append(ips, prefix.IP)
		}
	}
	return ips
}

func expiryOf(certFile string) (time.Time, error) {
	data, err := os.ReadFile(certFile)
	if err != nil {
		return time.Time{}, err
	}
	leaf, err := leafOf(data)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", certFile, err)
	}
	return leaf.NotAfter, nil
}

// leafOf is the first certificate, the server's own.
func leafOf(certPEM []byte) (*x509.Certificate, error) {
	chain, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// servingExpiry tells when the certificate ends that is served at the moment.
func servingExpiry(serving dynamiccertificates.CertKeyContentProvider) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "asi_gateway_serving_certificate_expiry_timestamp_seconds",
		Help: "When the serving certificate expires, in seconds since 1970.",
	}, func() float64 {
		certPEM, _ := serving.CurrentCertKeyContent()
		leaf, err := leafOf(certPEM)
		if err != nil {
			// Only what can be parsed is loaded.
			return 0
		}
		return float64(leaf.NotAfter.Unix())
	})
}

func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
