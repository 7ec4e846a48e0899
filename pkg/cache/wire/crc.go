package wire

// The CRC-32 of gzip (IEEE 802.3) is the remainder of a polynomial over GF(2).
// What follows a piece multiplies the piece's remainder by a power of x, so the
// checksum of two pieces one behind the other can be had from those of the two:
//
//	crc(a+b) = crc(a) * x^(8*len(b)) + crc(b)   (mod P)
//
// The complements at both ends of the usual algorithm cancel each other out.
// Polynomials are reflected, as in hash/crc32: the highest bit of a word is the
// coefficient of x^0, the lowest that of x^31.

const (
	// ieeePolynomial is P without its x^32, reflected.
	ieeePolynomial = 0xedb88320
	// one and xToThe8 are the polynomials 1 and x^8.
	one     = 1 << 31
	xToThe8 = one >> 8
)

// multiply returns a*b mod P.
func multiply(a, b uint32) uint32 {
	var product uint32
	for range 32 {
		// -(a >> 31) is all ones if the coefficient at hand is set.
		product ^= b & -(a >> 31)
		a <<= 1
		b = b>>1 ^ ieeePolynomial&-(b&1)
	}
	return product
}

// shiftBy returns x^(8*n) mod P: what n bytes that follow multiply a checksum by.
func shiftBy(n int) uint32 {
	power := uint32(one)
	for square := uint32(xToThe8); n > 0; n >>= 1 {
		if n&1 != 0 {
			power = multiply(power, square)
		}
		square = multiply(square, square)
	}
	return power
}

// combine returns the checksum of a piece with checksum a and one behind it with
// checksum b; shift is that of the second one's length.
func combine(a, b, shift uint32) uint32 { return multiply(a, shift) ^ b }
