//go:build linux && !race

package socket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Direct returns a connection that reads and writes without the scheduler, if c is one
// of TCP, and else c. Its errors are those of package net. To use c beside it is safe, but
// not to read, or to write, by both at once: their bytes would be mixed.
func Direct(c net.Conn) net.Conn {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return c
	}
	d := &conn{TCPConn: tcp, raw: raw}
	d.in.attempt, d.out.attempt = d.in.read, d.out.write
	return d
}

// conn is a TCP connection. What it does not do itself package net does.
type conn struct {
	*net.TCPConn
	raw     syscall.RawConn
	in, out transfer
}

// transfer is a read or a write under way; one at a time.
type transfer struct {
	mu sync.Mutex
	// attempt makes the system call, and tells whether that was all; if not, it is called
	// again when the socket is ready. The function is kept, since a new one for each
	// transfer would be garbage.
	attempt func(fd uintptr) bool
	buffer  []byte
	// done is how many bytes of it have been transferred.
	done  int
	errno syscall.Errno
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return c.TCPConn.Read(b)
	}
	n, err := c.in.run(b, c.raw.Read)
	if err != nil {
		return 0, c.failed("read", err)
	}
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return c.TCPConn.Write(b)
	}
	n, err := c.out.run(b, c.raw.Write)
	if err != nil {
		return n, c.failed("write", err)
	}
	return n, nil
}

// failed makes errors those of package net, which has another name for raw transfers.
func (c *conn) failed(op string, err error) error {
	var of *net.OpError
	var errno syscall.Errno
	switch {
	case errors.As(err, &of):
		err = of.Err
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// run has wait attempt a transfer until it is done or fails.
func (t *transfer) run(b []byte, wait func(func(fd uintptr) bool) error) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buffer, t.done, t.errno = b, 0, 0
	err := wait(t.attempt)
	t.buffer = nil
	if err == nil && t.errno != 0 {
		err = t.errno
	}
	return t.done, err
}

func (t *transfer) read(fd uintptr) bool {
	for {
		n, errno := call(syscall.SYS_READ, fd, t.buffer)
		switch errno {
		case 0:
			t.done = n
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.errno = errno
			return true
		}
	}
}

func (t *transfer) write(fd uintptr) bool {
	for {
		n, errno := call(syscall.SYS_WRITE, fd, t.buffer[t.done:])
		switch errno {
		case 0:
			if t.done += n; t.done == len(t.buffer) {
				return true
			}
		case syscall.EINTR:
		case syscall.EAGAIN:
			return false
		default:
			t.errno = errno
			return true
		}
	}
}

// call makes a system call on a socket that does not block.
func call(number, fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(number, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}
