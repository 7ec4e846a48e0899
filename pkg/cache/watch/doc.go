// Package watch has one stream of changes answer any number of watchers.
//
// A Hub holds the state of a resource in one encoding (store.Store), the changes
// that led to it as far back as its history goes, and who watches. What a change
// looks like on the wire is made once for all of them (Event.Frame).
//
// # Who is told
//
// A watcher that wants everything is in one list; one that wants objects of a
// namespace, of a name, or with a certain value of a field or label is found by
// that value. A change looks up its own values, before and after: it costs as much
// as there are watchers interested in it, not as there are watchers.
//
// # What a watcher is promised
//
// It gets every change after the resource version it begins at, once, in order.
// When that cannot be kept it is ended, between two events: it did not keep up
// (ErrSlow), also with the part of the history that it began with, or upstream's history
// was lost (ErrGap). The client comes back with the last resource version it has seen,
// and is served from the history or told that it is too old, by the apiserver itself.
//
// # Costs
//
// A watcher that waits holds no goroutine, timer or buffer of this package: its
// queue exists only while something is in it, and bookmarks and deadlines are
// looked after by one tick for all. One whose client does not read holds its queue, of
// a bounded length, and none of the changes behind it. The history is bounded by number
// and by bytes: what it holds beside the state counts (Past), and can be had back (Trim).
package watch
