// Package transport is for programs that are clients of a gateway, or of a
// kube-apiserver with or without one.
//
// Snappy halves what a client of large lists waits for: the gateway keeps objects
// compressed with snappy and sends them as they are, and to read snappy costs a
// tenth of reading gzip. Any other server answers as it always does.
//
//	config.Wrap(transport.Snappy) // a rest.Config of client-go
package transport
