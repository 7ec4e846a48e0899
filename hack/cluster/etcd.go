package cluster

import (
	"fmt"
	"path/filepath"
)

// etcdName is the name of the etcd process and of its only member.
const etcdName = "etcd"

// etcdSpec is an etcd that trades durability for speed: nothing here outlives a power
// cut. It speaks plain HTTP on loopback, so that the processors are left for what is
// measured.
func (c *Cluster) etcdSpec() Spec {
	client, peer := "http://"+address(c.ports.Etcd), "http://"+address(c.ports.EtcdPeer)
	return Spec{
		Name: etcdName,
		Path: c.binary(binEtcd),
		Args: []string{
			"--name=" + etcdName,
			"--data-dir=" + filepath.Join(c.dir, "etcd"),
			"--listen-client-urls=" + client,
			"--advertise-client-urls=" + client,
			"--listen-peer-urls=" + peer,
			"--initial-advertise-peer-urls=" + peer,
			"--initial-cluster=" + fmt.Sprintf("%s=%s", etcdName, peer),
			"--unsafe-no-fsync",
			// A million objects do not fit the 2 GiB that etcd allows by default.
			"--quota-backend-bytes=8589934592",
			"--log-level=warn",
		},
		URL:     client,
		LogFile: c.logFile(etcdName),
		Ready:   Probe{URL: client + "/readyz"},
	}
}
