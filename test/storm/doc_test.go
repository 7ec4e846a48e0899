// Package storm restarts all nodes of a cluster at once: every kubelet connects
// anew, and asks for the pods of its node with a watch that begins with the state.
// A kube-apiserver answers each of them by itself; the gateway answers all from
// memory, and asks upstream only how new that is, and whether each may read it.
//
// The storm is sent to the gateway and to the kube-apiserver, both shown side by
// side. It has 500 clients; with ASI_SOAK=1 5,000 within 10 s. Writes to another
// resource go on meanwhile, as they do in every cluster: what is kept in memory is
// then never the newest by its resource version.
package storm
