// Package survival breaks the kube-apiservers of a real cluster at random moments
// (killed, frozen, restarted) and checks what clients rely on through it all: no
// write is applied twice, no informer misses a change, and no read answers with
// less than its client has seen already.
//
// Faults follow a seed that each test logs; ASI_SEED=N gives the same again. With
// ASI_SOAK=1 the tests take minutes, use both identity modes, and show a plain TCP
// load balancer beside the gateway.
package survival
