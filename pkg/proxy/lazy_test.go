package proxy

import (
	"errors"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bounds is a connection that counts the deadlines it is given.
type bounds struct {
	net.Conn
	given int
	last  time.Time
	reads chan struct{}
}

func (b *bounds) Write(p []byte) (int, error) {
	if b.reads != nil {
		<-b.reads
	}
	return len(p), nil
}

func (b *bounds) SetWriteDeadline(t time.Time) error {
	b.given++
	b.last = t
	return nil
}

func (b *bounds) SetReadDeadline(time.Time) error { return nil }

func mustBound(t *testing.T, c net.Conn, by time.Time) {
	t.Helper()
	if err := c.SetWriteDeadline(by); err != nil {
		t.Error(err)
	}
}

func TestDeadlinesThatNothingIsWrittenUnderCostNothing(t *testing.T) {
	b := &bounds{}
	c := &lazyConn{Conn: b}
	for range 3 {
		mustBound(t, c, time.Now().Add(time.Minute))
		mustBound(t, c, time.Time{})
	}
	if b.given != 0 {
		t.Errorf("%d deadlines", b.given)
	}
}

func TestDeadlinesAMomentApartAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bounds{}
		c := &lazyConn{Conn: b}
		start := time.Now()
		for range 100 {
			mustBound(t, c, time.Now().Add(time.Minute))
			mustWrite(t, c, "answer")
			mustBound(t, c, time.Time{})
			<-time.After(deadlineSlack / 50)
			if left := b.last.Sub(time.Now().Add(time.Minute)); left < -deadlineSlack/50 || left > deadlineSlack {
				t.Errorf("%s behind the start, the write may take %s more than a minute", time.Since(start), left)
			}
		}
		if b.given != 2 {
			t.Errorf("%d deadlines within two seconds", b.given)
		}
	})
}

func TestDeadlinesThatAreNearAreKept(t *testing.T) {
	for name, by := range map[string]time.Time{
		"in a second":  time.Now().Add(time.Second),
		"a second ago": time.Now().Add(-time.Second),
		"none":         {},
	} {
		t.Run(name, func(t *testing.T) {
			b := &bounds{}
			c := &lazyConn{Conn: b}
			mustBound(t, c, time.Now().Add(time.Minute))
			mustWrite(t, c, "answer")
			mustBound(t, c, by)
			mustWrite(t, c, "answer")
			if !b.last.Equal(by) {
				t.Errorf("the write has to end by %s, want %s", b.last, by)
			}
		})
	}
}

func TestAWriteUnderWayHearsOfItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &bounds{reads: make(chan struct{})}
		c := &lazyConn{Conn: b}
		go mustWrite(t, c, "answer")
		synctest.Wait()
		gone := time.Now().Add(-time.Second)
		if err := c.SetDeadline(gone); err != nil || !b.last.Equal(gone) {
			t.Errorf("%v, the write has to end by %s", err, b.last)
		}
		close(b.reads)
		synctest.Wait()
	})
}

// TestADeadlineThatHasPassedIsNotLeft: net/http aborts a write so, on a real connection.
func TestADeadlineThatHasPassedIsNotLeft(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := &lazyConn{Conn: near}
	defer c.Close()
	mustBound(t, c, time.Now().Add(-time.Second))
	if _, err := c.Write([]byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	mustBound(t, c, time.Time{})
	var read atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, _ := far.Read(make([]byte, 8))
		read.Store(int64(n))
	}()
	mustWrite(t, c, "again")
	<-done
	if read.Load() != 5 {
		t.Errorf("%d bytes arrived", read.Load())
	}
}
