// Package attack treats the gateway as its enemies would: with lies about who
// they are, requests that two servers could read in two ways, and clients that
// are too slow, too fast or gone. The real binary stands in front of a real
// kube-apiserver; what it answers is compared with what the apiserver answers
// directly, and the apiserver's audit log tells what was carried out as whom.
//
// The bounds are those of a few seconds (--stall-timeout 2s, --request-timeout
// 3s), so that the tests are short. With ASI_SOAK=1 floods are larger.
package attack
