// Package upstream follows one resource in one encoding: it gets the whole of it
// once, and every change from then on, for as long as upstream's history lasts.
//
// It starts with a watch that sends the initial state first (WatchList), and where
// a server does not know that with a list, page by page. When a watch ends it goes
// on from the last resource version, at whatever server. It starts anew when that
// is too old (410), when an event is older than one before it (etcd was restored,
// or a server is wrong), when upstream, asked for where it is, is not as far as it was
// when the last watch ended, or when what comes cannot be understood; whoever gets the
// changes is told by Reset, so that no gap is taken for nothing happening.
package upstream
