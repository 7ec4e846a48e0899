package cluster

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

//go:embed config/kwok-stages.yaml
var kwokStages []byte

//go:embed config/kwok-pods.yaml
var kwokPods []byte

// Placeholders in kwok-pods.yaml.
const (
	podLogPlaceholder    = "POD_LOG_FILE"
	podTargetPlaceholder = "POD_TARGET_PORT"
)

// nodeLeaseSeconds is the validity of a node's lease, 40 s as the kubelet has it; kwok
// renews it every quarter of that.
const nodeLeaseSeconds = 40

// kwokSpec is a kwok that plays all nodes of the cluster and serves their kubelet API
// with TLS on one port.
func (c *Cluster) kwokSpec(kubeconfig string) Spec {
	server := "https://" + address(c.ports.Kwok)
	return Spec{
		Name: binKwok,
		Path: c.binary(binKwok),
		Args: []string{
			"--kubeconfig=" + kubeconfig,
			"--config=" + c.configFile("kwok-stages.yaml"),
			"--config=" + c.configFile("kwok-pods.yaml"),
			"--manage-all-nodes=true",
			fmt.Sprintf("--node-lease-duration-seconds=%d", nodeLeaseSeconds),
			"--node-ip=" + loopback,
			fmt.Sprintf("--node-port=%d", c.ports.Kwok),
			// Otherwise it would listen on every address.
			"--server-address=" + address(c.ports.Kwok),
			"--tls-cert-file=" + c.pki.certFile(certKubelet),
			"--tls-private-key-file=" + c.pki.keyFile(certKubelet),
		},
		// Without it kwok also reads the configuration in the user's home.
		Env:     []string{"KWOK_WORKDIR=" + filepath.Join(c.dir, "kwok")},
		URL:     server,
		LogFile: c.logFile(binKwok),
		Ready:   Probe{URL: server + "/readyz", CAFile: c.CAFile()},
	}
}

// writeKwokConfig writes what kwok reads, and the first line of the pods' log.
func (c *Cluster) writeKwokConfig() error {
	pods := bytes.ReplaceAll(kwokPods, []byte(podLogPlaceholder), []byte(c.podLogFile()))
	// Every port of every pod leads to kwok's own health endpoint: something that
	// surely listens and answers HTTP.
	pods = bytes.ReplaceAll(pods, []byte(podTargetPlaceholder), fmt.Append(nil, c.ports.Kwok))
	if err := c.writeConfig("kwok-stages.yaml", kwokStages); err != nil {
		return err
	}
	if err := c.writeConfig("kwok-pods.yaml", pods); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.podLogFile()), 0o755); err != nil {
		return fmt.Errorf("create the folder of the pods' log: %w", err)
	}
	return c.AppendPodLog("container started")
}

// podLogFile is in a folder of its own: kwok is woken by every change of that folder
// while it follows the log.
func (c *Cluster) podLogFile() string {
	return filepath.Join(c.dir, "pods", "container.log")
}

// AppendPodLog adds a line to the log that every container of every pod shows in
// `kubectl logs` and, while it lasts, `kubectl attach`.
func (c *Cluster) AppendPodLog(line string) error {
	f, err := os.OpenFile(c.podLogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("open the pods' log: %w", err)
	}
	defer f.Close()
	// The format of container runtimes: time, stream, F for a full line, text.
	if _, err := fmt.Fprintf(f, "%s stdout F %s\n", time.Now().UTC().Format(time.RFC3339Nano), line); err != nil {
		return fmt.Errorf("write the pods' log: %w", err)
	}
	return nil
}
