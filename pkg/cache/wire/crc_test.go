package wire

import (
	"hash/crc32"
	"math/rand"
	"testing"
)

func TestChecksumsOfPiecesMakeThatOfTheWhole(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 300 {
		whole := make([]byte, random.Intn(1<<uint(random.Intn(18))+1))
		random.Read(whole)
		crc, rest := uint32(0), whole
		for len(rest) > 0 {
			n := 1 + random.Intn(len(rest))
			crc = combine(crc, crc32.ChecksumIEEE(rest[:n]), shiftBy(n))
			rest = rest[n:]
		}
		if want := crc32.ChecksumIEEE(whole); crc != want {
			t.Fatalf("%d bytes: %08x, not %08x", len(whole), crc, want)
		}
	}
}

func TestNothingBehindAPieceLeavesItsChecksum(t *testing.T) {
	if got := combine(0x12345678, crc32.ChecksumIEEE(nil), shiftBy(0)); got != 0x12345678 {
		t.Fatalf("%08x", got)
	}
}

func TestMultiplicationIsThatOfAField(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	for range 1000 {
		a, b, c := random.Uint32(), random.Uint32(), random.Uint32()
		if multiply(a, b) != multiply(b, a) || multiply(a, multiply(b, c)) != multiply(multiply(a, b), c) || multiply(a, b^c) != multiply(a, b)^multiply(a, c) || multiply(a, one) != a {
			t.Fatalf("%08x %08x %08x", a, b, c)
		}
	}
}

func BenchmarkCombine(b *testing.B) {
	shift := shiftBy(8192)
	crc := uint32(1)
	for b.Loop() {
		crc = combine(crc, 0x12345678, shift)
	}
	if crc == 0 {
		b.Log(crc)
	}
}
