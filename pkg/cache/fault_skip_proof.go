//go:build asi_fault_skip_proof

package cache

// skipProof has strict reads answered without any proof, which is wrong: it shows
// that the tests of consistency would see it.
const skipProof = true
