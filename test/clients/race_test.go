//go:build race

package clients

// slowdown is what the race detector costs the gateway and this process.
const slowdown = 4
