package traffic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"
)

// patience is how long watches go on after the requests have stopped: what is to
// end them has happened by then.
const patience = 15 * time.Second

// Run carries out a plan until ctx ends, and returns when every request has been
// answered. Report is called from several goroutines.
func Run(ctx context.Context, plan Plan, report func(Line)) error {
	config, err := tlsConfig(plan)
	if err != nil {
		return err
	}
	watching, endWatches := context.WithCancel(context.WithoutCancel(ctx))
	defer endWatches()
	context.AfterFunc(ctx, func() { time.AfterFunc(patience, endWatches) })

	var running sync.WaitGroup
	defer running.Wait()
	for _, w := range plan.Watches {
		running.Go(func() {
			client := newClient(config)
			defer client.CloseIdleConnections()
			watched := w.run(watching, client)
			report(Line{Watched: &watched})
		})
	}
	for i, s := range plan.Streams {
		// Not all streams in the same moment.
		phase := float64(i) / float64(len(plan.Streams))
		running.Go(func() { s.run(ctx, newClient(config), phase, report) })
	}
	return nil
}

// newClient has connections of its own.
func newClient(config *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config.Clone(), ForceAttemptHTTP2: true, DisableCompression: true}}
}

func tlsConfig(plan Plan) (*tls.Config, error) {
	pem, err := os.ReadFile(plan.CAFile)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, errors.New("the CA file holds no certificate")
	}
	cert, err := tls.LoadX509KeyPair(plan.CertFile, plan.KeyFile)
	config.Certificates = []tls.Certificate{cert}
	return config, err
}
