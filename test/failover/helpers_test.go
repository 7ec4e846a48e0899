package failover

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func shared[T any](t *testing.T, get func() (T, error)) T {
	t.Helper()
	v, err := get()
	must(t, err)
	return v
}

// pollUntil calls condition until it returns nil.
func pollUntil(ctx context.Context, condition func(context.Context) error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var last error
	for {
		// What the end of the wait does to the last attempt says nothing.
		err := condition(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%w; last: %w", context.Cause(ctx), errors.Join(last))
		}
	}
}

func eventually(t *testing.T, d time.Duration, condition func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := pollUntil(ctx, condition); err != nil {
		t.Fatalf("not within %s: %v", d, err)
	}
}

// pause waits as part of a plan.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// within returns a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// ms is a duration for people.
func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
