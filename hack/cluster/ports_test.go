package cluster

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
)

func TestTakenPortIsNamedInTheError(t *testing.T) {
	listener, err := net.Listen("tcp", address(0))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	for _, base := range []int{port, port - 1, port - serverPorts - 4} { // main-0, main-1, kwok
		_, err := allocatePorts(base, 3)
		// Another port of the range may be taken by chance: then it is named instead.
		if !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), loopback) {
			t.Errorf("base %d: error %v, want ErrPortTaken", base, err)
		}
	}
	if err := CheckPort(port); err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("error %v, want one that names port %d", err, port)
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
	p, err := allocatePorts(0, 12)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range append(p.Servers, p.Etcd, p.EtcdPeer, p.ControllerManager, p.Scheduler, p.Kwok) {
		if seen[port] || port < freePortMin || port >= freePortMax {
			t.Errorf("port %d", port)
		}
		seen[port] = true
	}
}
