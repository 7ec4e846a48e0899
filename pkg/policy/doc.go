// Package policy turns policy objects into what the engines work with.
//
// It watches the gateway's own API in process, compiles all objects into one
// immutable snapshot whenever one of them changes, and publishes it: the data
// path loads a pointer and never waits for a store. The objects of the last
// snapshot are kept in a file, so that a gateway that starts while the shared
// store is away starts with the last good policies instead of none.
//
// An object that does not compile is left out and says so in its condition
// Active; the others are not held up by it. Conditions are a function of the
// stored objects and of time alone, so that any replica may write them.
//
// Policies that come as YAML files are read with the position of every field: an
// error names file, line and field.
package policy
