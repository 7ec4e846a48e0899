// Package auth finds out who sent a request and says so upstream.
//
// Credentials are read in kube-apiserver's order: client certificate, bearer
// token, WebSocket subprotocol token; none at all is no identity, and such a
// request goes upstream without one, so that the apiserver's own anonymous
// configuration decides. The certificate of a connection is verified once and
// remembered with the connection until it expires or the CA bundle changes.
// Tokens are reviewed upstream (TokenReview): one review at a time per token, in
// lines of their own for tokens that are known and for requests that no limit
// bounds before. Answers are kept for a short while in two bounded caches, so that
// a flood of bad tokens cannot push out the good ones. While no apiserver can be
// asked, the last positive answer holds for up to the outage TTL, never past the
// token's own expiry.
//
// An identity carries the headers that assert it, built once: X-Remote-* for
// front-proxy mode, Impersonate-* for impersonation mode.
package auth
