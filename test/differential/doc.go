// Package differential proves that a client cannot tell the gateway from the
// kube-apiserver behind it.
//
// One table of cases is sent three times: straight to a kube-apiserver, through
// a gateway that asserts users by front-proxy headers, and through one that
// impersonates them. A case is a name and the requests to send, one after
// another; every answer is compared: status, headers, body and trailers.
//
// Cases that only read the objects of namespace diff-shared must get the same
// bytes back; at most the revision of a list, which any write moves on, is
// masked. Cases that write do so in a namespace of their side ($NS, of the same
// length for all), so that all sides start from the same state; there the rules
// in mask_test.go say what two runs cannot have in common.
//
// Differences that are meant to be are in exceptions.yaml, with the reason. One
// that did not occur fails the suite as much as one that is not listed.
package differential
