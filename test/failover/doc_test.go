// Package failover breaks kube-apiservers, killed or frozen, one or a whole group,
// under traffic through a gateway, and judges what its clients see: by their own
// answers, by the apiservers' audit logs and by the gateway's metrics.
package failover
