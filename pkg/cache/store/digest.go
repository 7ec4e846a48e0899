package store

// Digest sums up which versions of which objects there are, so that two states can
// be compared without having both in one place. It does not depend on the order
// of Add, nor on process or machine. Digests can be compared with ==; the zero
// Digest is that of nothing.
type Digest struct {
	objects int
	sum     uint64
}

// Add adds an object, which must not have been added.
func (d *Digest) Add(key string, rv uint64) {
	// FNV-1a, and then the finalizer of SplitMix64: sums of plain FNV hashes that differ in
	// the last bytes only would cancel out too easily.
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for i := range len(key) {
		h = (h ^ uint64(key[i])) * prime
	}
	h += rv * 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	d.sum += h ^ h>>31
	d.objects++
}

// Digest returns the digest of the objects whose keys start with prefix. It is O(n).
func (s *Snapshot) Digest(prefix string) Digest {
	var d Digest
	s.Range(prefix, "", func(o *Object) bool {
		d.Add(o.Key, o.ResourceVersion)
		return true
	})
	return d
}
