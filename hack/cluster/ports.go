package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

const (
	loopback = "127.0.0.1"
	// DefaultBasePort is the port of the first apiserver of `cluster up` and `run`.
	DefaultBasePort = 6444
	// serverPorts is the number of ports kept for apiservers in the stable layout, so
	// that another number of them does not move the other parts.
	serverPorts = 10
	// Free ports are taken from below the range that systems use for outgoing
	// connections, so that none of those takes a port between the check and the bind,
	// or while a killed part is away.
	freePortMin, freePortMax = 15000, 32000
	freePortTries            = 1000
)

// ports are the loopback ports of a cluster.
type ports struct {
	Servers           []int `json:"servers"` // main servers first, then bypass servers
	Etcd              int   `json:"etcd"`
	EtcdPeer          int   `json:"etcdPeer"`
	ControllerManager int   `json:"controllerManager"`
	Scheduler         int   `json:"scheduler"`
	Kwok              int   `json:"kwok"`
}

// allocatePorts lays ports out from base, or picks free ones if base is 0. Apiservers
// come first: base+0, base+1...; etcd (client, peer), kube-controller-manager,
// kube-scheduler and kwok follow from base+10. The error is ErrPortTaken if one is.
func allocatePorts(base, servers int) (ports, error) {
	others := base + max(serverPorts, servers)
	next := func(i int) int { return others + i }
	if base == 0 {
		picked, err := FreePorts(servers + 5)
		if err != nil {
			return ports{}, err
		}
		return ports{
			Servers: picked[:servers], Etcd: picked[servers], EtcdPeer: picked[servers+1],
			ControllerManager: picked[servers+2], Scheduler: picked[servers+3], Kwok: picked[servers+4],
		}, nil
	}
	p := ports{Etcd: next(0), EtcdPeer: next(1), ControllerManager: next(2), Scheduler: next(3), Kwok: next(4)}
	for i := range servers {
		p.Servers = append(p.Servers, base+i)
	}
	for _, port := range append([]int{p.Etcd, p.EtcdPeer, p.ControllerManager, p.Scheduler, p.Kwok}, p.Servers...) {
		if err := CheckPort(port); err != nil {
			return ports{}, err
		}
	}
	return p, nil
}

// CheckPort returns nil if nothing listens on the loopback port, else ErrPortTaken.
func CheckPort(port int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return fmt.Errorf("%w: %s (%w): end the program that listens there (`cluster down` if it is an earlier cluster) or choose another port",
			ErrPortTaken, address(port), err)
	}
	return listener.Close()
}

// FreePorts finds n different loopback ports that nothing listens on.
func FreePorts(n int) ([]int, error) {
	seen := map[int]bool{}
	var found []int
	for range freePortTries {
		port := freePortMin + rand.IntN(freePortMax-freePortMin)
		if seen[port] {
			continue
		}
		seen[port] = true
		if CheckPort(port) == nil {
			found = append(found, port)
		}
		if len(found) == n {
			return found, nil
		}
	}
	return nil, fmt.Errorf("found only %d of %d free ports between %d and %d on %s", len(found), n, freePortMin, freePortMax, loopback)
}

// address is the loopback host and port to listen on.
func address(port int) string {
	return net.JoinHostPort(loopback, strconv.Itoa(port))
}
