package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

func framesOf(bodies ...string) (b []byte) {
	for _, body := range bodies {
		b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
		b = append(b, body...)
	}
	return b
}

func TestFramesAreCountedWhereverReadsEnd(t *testing.T) {
	all := framesOf("one", "", strings.Repeat("x", 300), "four")
	for step := 1; step <= len(all); step++ {
		var f frameCounter
		ended := 0
		for rest := all; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			ended += f.count(rest[:min(step, len(rest))])
		}
		if ended != 4 {
			t.Errorf("in steps of %d: %d frames", step, ended)
		}
	}
}

func TestFrameThatHasNotEndedIsNotCounted(t *testing.T) {
	all := framesOf("one", "two")
	var f frameCounter
	if got := f.count(all[:len(all)-1]); got != 1 {
		t.Errorf("%d frames", got)
	}
}

func TestFramesAreRead(t *testing.T) {
	r := bytes.NewReader(framesOf("one", "", "three"))
	var frame []byte
	for _, want := range []string{"one", "", "three"} {
		var err error
		if frame, err = readFrame(r, frame); err != nil || !bytes.Equal(frame, framesOf(want)) {
			t.Errorf("%q, %v, want %q", frame, err, want)
		}
	}
	if _, err := readFrame(r, frame); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if _, err := readFrame(bytes.NewReader(framesOf("cut")[:5]), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("in the middle: %v", err)
	}
	if _, err := readFrame(bytes.NewReader([]byte{0xff, 0, 0, 0}), nil); err == nil {
		t.Error("4 GB were read")
	}
}

func FuzzFrameCounter(f *testing.F) {
	f.Add(framesOf("one", "two"), 3)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0}, 1)
	f.Fuzz(func(t *testing.T, all []byte, step int) {
		step = max(1, step)
		var parts frameCounter
		ended := 0
		for rest := all; len(rest) > 0; rest = rest[min(step, len(rest)):] {
			ended += parts.count(rest[:min(step, len(rest))])
		}
		read, r := 0, bytes.NewReader(all)
		for {
			if _, err := readFrame(r, nil); err != nil {
				break
			}
			read++
		}
		// What is too large to be read is counted when it ends, which it does not here.
		if whole := new(frameCounter).count(all); ended != whole || (len(all) < maxFrame && read != whole) {
			t.Fatalf("%d frames in parts, %d at once, %d read", ended, whole, read)
		}
	})
}
