// Package limits has operators decide, by RateLimits, Switches and ClientClasses,
// what clients may do: through the real gateway, in front of real
// kube-apiservers, with a real etcd and Redis, while each of these dies.
package limits
