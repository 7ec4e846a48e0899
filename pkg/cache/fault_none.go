//go:build !asi_fault_skip_proof

package cache

const skipProof = false
