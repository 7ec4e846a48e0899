package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// WriteKubeconfig writes a kubeconfig with everything inside the file, readable by its
// owner only: the server's URL, the CA that verifies it, and a client certificate with
// its key. With no certificate the client is anonymous.
func WriteKubeconfig(path, server string, caPEM, certPEM, keyPEM []byte) error {
	const name = "asi"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: caPEM}
	config.AuthInfos[name] = &clientcmdapi.AuthInfo{ClientCertificateData: certPEM, ClientKeyData: keyPEM}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	config.CurrentContext = name
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write a kubeconfig: %w", err)
	}
	// Not a moment without the whole file: somebody may be reading the one before.
	temporary, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err == nil {
		err = temporary.Close()
	}
	if err == nil {
		err = clientcmd.WriteToFile(*config, temporary.Name())
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the kubeconfig %s: %w", path, err)
	}
	return nil
}

// writeClientKubeconfig writes kubeconfig/NAME.kubeconfig for one of the cluster's own
// client certificates and returns its path.
func (c *Cluster) writeClientKubeconfig(name string, target Target) (string, error) {
	ca, err := os.ReadFile(target.CAFile)
	if err != nil {
		return "", fmt.Errorf("read the CA of %s: %w", target.Server, err)
	}
	cert, err := os.ReadFile(c.pki.certFile(name))
	if err != nil {
		return "", fmt.Errorf("read the client certificate: %w", err)
	}
	key, err := os.ReadFile(c.pki.keyFile(name))
	if err != nil {
		return "", fmt.Errorf("read the client key: %w", err)
	}
	path := c.kubeconfigPath(name)
	return path, WriteKubeconfig(path, target.Server, ca, cert, key)
}

func (c *Cluster) kubeconfigPath(name string) string {
	return filepath.Join(c.dir, "kubeconfig", name+".kubeconfig")
}
