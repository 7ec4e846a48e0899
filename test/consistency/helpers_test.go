package consistency

import (
	"context"
	"net"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ownConnection gives a client connections of its own: client-go shares them among
// equal configurations.
func ownConnection(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	return config
}

// await polls until condition returns nil, and returns its last error otherwise.
func await(ctx context.Context, within time.Duration, condition func(ctx context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		// What the end of the wait does to the last attempt says nothing.
		if err := condition(ctx); ctx.Err() == nil || err == nil {
			last = err
		}
		return last == nil, nil
	})
	if err != nil && last != nil {
		return last
	}
	return err
}

// eventually is await for what the test cannot go on without.
func eventually(t *testing.T, within time.Duration, condition func(ctx context.Context) error) {
	t.Helper()
	if err := await(t.Context(), within, condition); err != nil {
		t.Fatalf("not within %s: %v", within, err)
	}
}
