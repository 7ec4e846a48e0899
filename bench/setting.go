package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

// setting is where and with what figures were measured.
type setting struct {
	Machine    string `json:"machine"`
	Go         string `json:"go"`
	Kubernetes string `json:"kubernetes"`
	Etcd       string `json:"etcd"`
	When       string `json:"when"`
}

// here is that of this run.
func here() setting {
	return setting{
		Machine: machine(), Go: runtime.Version(), Kubernetes: cluster.KubernetesVersion, Etcd: cluster.EtcdVersion,
		When: time.Now().UTC().Format(time.DateOnly),
	}
}

func (s setting) String() string {
	return fmt.Sprintf("%s, %s, kube-apiserver %s, etcd %s, %s", s.Machine, s.Go, s.Kubernetes, s.Etcd, s.When)
}

// machine names processor and core count.
func machine() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return fmt.Sprintf("%d cores", runtime.NumCPU())
	}
	for line := range strings.SplitSeq(string(info), "\n") {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return fmt.Sprintf("%d cores of %s", runtime.NumCPU(), strings.TrimLeft(name, "\t :"))
		}
	}
	return fmt.Sprintf("%d cores", runtime.NumCPU())
}
