// Package cluster builds and runs a real Kubernetes control plane on one machine,
// for tests, benchmarks and `make run`, and lets them break it on purpose.
//
// Build compiles etcd, kube-apiserver, kube-controller-manager, kube-scheduler,
// kubectl and kwok from the nested modules in build/ into a cache folder outside
// the source tree. Start boots them as child processes: one etcd, two groups of
// kube-apiservers ("main" and "bypass") that share it, and, if asked for, the
// controllers, with kwok playing the nodes and their kubelets. Every part is a
// Process, which can be killed, paused, resumed and restarted on its own.
//
// The folder given as Options.Dir holds everything a cluster is:
//
//	state.json      what runs (commands, pids, ports); read by Open
//	pki/            certificates and keys, the two authorities among them
//	kubeconfig/     one file per client: admin and the controllers
//	config/         files the parts read: audit policy, kwok
//	etcd/           the data
//	logs/, audit/   one file per part
//	pods/           the log that every simulated container shows
//
// Two authorities are kept apart, as in production: the cluster CA signs servers
// and ordinary clients, the front-proxy CA signs only those who may assert other
// users' names by X-Remote-* headers.
//
// How parts end: on Linux each child of Start asks the kernel to be killed when
// its parent dies (PDEATHSIG, with the forking thread kept alive until the child
// has been waited for), so that a crashed test leaves nothing behind. Elsewhere,
// and for a Detached cluster, Stop, Close or the `cluster down` command end them.
// A signal goes to one pid only, after making sure that the pid is still that
// process.
//
// Everything listens on 127.0.0.1. etcd speaks plain HTTP there and kwok's fake
// kubelet runs `kubectl exec` commands on this machine as the current user without
// asking who calls: do not use this package on a machine whose other users are not
// trusted.
package cluster
