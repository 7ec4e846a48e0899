// Package store keeps the objects of one resource, in one encoding, ordered and
// indexed, as of every one of the last resource versions.
//
// A Store has one writer, which applies what a list and the watch after it say,
// and any number of readers. A reader takes a Snapshot, which is the state at one
// resource version and never changes: nothing that the writer does later waits
// for it or disturbs it.
//
// # Order
//
// Objects are ordered by Key, byte by byte, as an apiserver's lists are. Namespace
// "a-b" comes before "a" therefore, for '-' is less than '/', and what a namespace
// holds is what starts with its name and a slash, never with its name alone.
//
// # Trees
//
// A snapshot is a tree of objects, and a tree for each index. They are B+-trees
// whose nodes are immutable (tree.go): a change makes a new copy of the nodes on
// the way from the root to one leaf, and shares all others with the state before. Nodes are
// copied anyway, so they have no spare room: arrays are as long as what is in
// them, and how full nodes are costs no memory. An inner node has, for
// every child, how many objects are below it and how many bytes they add to a
// list, so that the length of a list is known before the list is made.
//
// The tree of an index holds value and key, not the object: when an object
// changes and its values do not, which is nearly always so, the index stays as it
// is. A lookup finds the objects in the tree of objects; keys come in order, so it
// goes on from where the last one was (finger.go).
//
// There is no transaction that collects changes: every event of a watch is a state
// of its own, because a later read can ask for it (At). What comes in bulk, a list
// or the initial events of a watch, is built from the bottom up (build.go).
//
// # Resource versions
//
// Put, Delete and Progress go forward in resource versions, or they change
// nothing and return ErrBackwards: the state is not what the writer takes it for,
// and it lists again. That is for events of a watch, which come in the order of
// resource versions. The initial events of a watch list do not: they come in key
// order, with the resource version that each object has. They are collected and
// go through Replace, with the resource version of the bookmark behind them.
//
// The state at resource version N is known for every N between the oldest state
// that is held and the newest, also where nothing happened at N: it is what the
// last event before has left.
//
// # Memory
//
// A snapshot that is held holds what it shares with no other: for each change
// since about 2 KB of nodes and the object that was replaced. A Store
// holds the last states, as many as New is told.
//
// No string of an object that has gone is kept. The keys of all versions of an
// object and of its index entries are one string, the values of all entries of an
// index with that value another one.
package store
