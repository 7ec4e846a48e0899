// Package apiserver serves the gateway's own API group, gateway.asi.io: which
// clients there are, what they may do, and what stops in an emergency. It is a
// Kubernetes API like any other (watch, server-side apply, tables, dry run,
// kubectl explain), made of k8s.io/apiserver's registry, and lives inside the
// gateway's process.
//
// It depends on nothing that the gateway guards. It opens no port: the gateway's
// chain hands requests to Handler, and the gateway's own parts reach it through
// an in-memory connection (ClientConfig). Objects are kept in an embedded etcd
// that listens on one unix socket in a directory of mode 0700, or in an etcd that
// several gateways share. Whoever is in the group system:masters needs no answer
// of an apiserver to get in, so that a limit can be lifted while every apiserver
// is dead.
//
// Run owns everything: etcd, its client, the watch caches, the in-memory server.
// Before it is ready, and after it has ended, Handler answers 503. An etcd that
// goes away does not end it: reads that need it and all writes are answered 503
// within seconds, watches go on, and what clients watch here stays as it was.
//
// k8s.io/apiserver and etcd keep metrics and feature gates in global registries.
// This package is where that ends: nothing here reads or serves them.
package apiserver
