package cluster

import (
	_ "embed"
	"fmt"
	"path/filepath"
)

const (
	// serviceCIDR is the range of Service addresses, serviceClusterIP its first, which
	// the apiserver gives to the Service "kubernetes".
	serviceCIDR      = "10.96.0.0/12"
	serviceClusterIP = "10.96.0.1"
	// Issuer is the issuer of service account tokens.
	Issuer = "https://kubernetes.default.svc.cluster.local"
)

// Groups of apiservers, as in Cluster.Servers.
const (
	GroupMain   = "main"
	GroupBypass = "bypass"
)

//go:embed config/audit-policy.yaml
var auditPolicy []byte

// apiServerName is "main-0" for the first server of group main.
func apiServerName(group string, index int) string {
	return fmt.Sprintf("%s-%d", group, index)
}

// apiServerSpec is a kube-apiserver set up as production would have it (RBAC, Node,
// audit, requestheader), except that it listens on loopback.
func (c *Cluster) apiServerSpec(name string, port int) Spec {
	url := "https://" + address(port)
	return Spec{
		Name:    name,
		Path:    c.binary(binAPIServer),
		Args:    append(c.apiServerArgs(name, port), c.opts.ExtraAPIServerArgs...),
		URL:     url,
		LogFile: c.logFile(name),
		// Asked as admin: extra arguments may forbid anonymous requests.
		Ready: Probe{
			URL: url + "/readyz", CAFile: c.pki.certFile(certCA),
			CertFile: c.pki.certFile(certAdmin), KeyFile: c.pki.keyFile(certAdmin),
		},
	}
}

func (c *Cluster) apiServerArgs(name string, port int) []string {
	args := []string{
		"--etcd-servers=http://" + address(c.ports.Etcd),
		"--bind-address=" + loopback,
		"--advertise-address=" + loopback,
		fmt.Sprintf("--secure-port=%d", port),
		"--tls-cert-file=" + c.pki.certFile(certAPIServer),
		"--tls-private-key-file=" + c.pki.keyFile(certAPIServer),
		"--client-ca-file=" + c.pki.certFile(certCA),
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true",
		"--service-cluster-ip-range=" + serviceCIDR,
		"--service-account-issuer=" + Issuer,
		"--service-account-key-file=" + c.pki.serviceAccountPublic(),
		"--service-account-signing-key-file=" + c.pki.serviceAccountKey(),
		// Endpoints may not be loopback addresses, and all servers have the same.
		"--endpoint-reconciler-type=none",
		// There is no network to Service addresses here: an aggregated apiserver is
		// reached at its endpoints.
		"--enable-aggregator-routing=true",
		"--audit-policy-file=" + c.configFile("audit-policy.yaml"),
		"--audit-log-path=" + c.AuditLog(name),
		// A stopped server should be gone at once, watches included.
		"--shutdown-delay-duration=0",
		"--shutdown-watch-termination-grace-period=1s",
	}
	args = append(args, c.frontProxyArgs()...)
	return append(args, c.kubeletArgs()...)
}

// frontProxyArgs let the holder of the front-proxy certificate, and no other, name the
// user a request is made for. The server itself uses it towards aggregated servers.
func (c *Cluster) frontProxyArgs() []string {
	return []string{
		"--requestheader-client-ca-file=" + c.pki.certFile(certFrontProxyCA),
		"--requestheader-allowed-names=" + frontProxyUser,
		// X-Cluster-* are there for who would have a client name itself by them.
		"--requestheader-username-headers=X-Remote-User,X-Cluster-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group,X-Cluster-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-,X-Cluster-Extra-",
		"--proxy-client-cert-file=" + c.pki.certFile(certFrontProxyClient),
		"--proxy-client-key-file=" + c.pki.keyFile(certFrontProxyClient),
	}
}

// kubeletArgs are how the server reaches kwok's fake kubelet for logs, exec, attach
// and port-forward.
func (c *Cluster) kubeletArgs() []string {
	return []string{
		"--kubelet-client-certificate=" + c.pki.certFile(certKubeletClient),
		"--kubelet-client-key=" + c.pki.keyFile(certKubeletClient),
		"--kubelet-certificate-authority=" + c.pki.certFile(certCA),
		"--kubelet-preferred-address-types=InternalIP",
	}
}

// AuditLog is the path of the audit log of the apiserver of that name: JSON lines at
// level Metadata.
func (c *Cluster) AuditLog(server string) string {
	return filepath.Join(c.dir, "audit", server+".log")
}
