//go:build !race

package clients

const slowdown = 1
