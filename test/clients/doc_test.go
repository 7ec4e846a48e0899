// Package clients runs the clients that a cluster has through the gateway:
// controllers, informers, kubectl. What they see must be what they see without
// it, while connections are drained, certificates change and apiservers die.
package clients
