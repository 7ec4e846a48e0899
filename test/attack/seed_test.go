package attack

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
)

const (
	namespace = "attack"
	// robot is a service account without any right.
	robot = "robot"
)

// seed makes what attacks are after: a secret, and a user who may impersonate
// others but not into any group.
func seed(ctx context.Context, admin kubernetes.Interface) error {
	if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := admin.CoreV1().Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "treasure"}, StringData: map[string]string{"password": "gold"},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := admin.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: robot}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	for user, rules := range map[string][]rbacv1.PolicyRule{
		"impersonator": {{APIGroups: []string{""}, Resources: []string{"users"}, Verbs: []string{"impersonate"}}},
		"deputy": {
			{APIGroups: []string{""}, Resources: []string{"users", "groups"}, Verbs: []string{"impersonate"}},
			{APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"uids", "userextras/scopes"}, Verbs: []string{"impersonate"}},
		},
	} {
		if _, err := admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			return err
		}
		if _, err := admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
		}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func tokenRequest() *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{}
}

// oddNames are the subjects of certificates that could be taken for another's.
var oddNames = map[string]pkix.Name{
	"name with a space before":             {CommonName: " kubernetes-admin"},
	"name with a space behind":             {CommonName: "kubernetes-admin "},
	"name with a tab before":               {CommonName: "\tkubernetes-admin"},
	"name with a tab behind":               {CommonName: "kubernetes-admin\t"},
	"name with a tab inside":               {CommonName: "kubernetes\tadmin"},
	"name with a line feed behind":         {CommonName: "kubernetes-admin\n"},
	"name with a line feed and a header":   {CommonName: "bob\nX-Remote-Group: system:masters"},
	"name with a line break and a header":  {CommonName: "bob\r\nImpersonate-Group: system:masters"},
	"name with a carriage return":          {CommonName: "kubernetes-admin\r"},
	"name with a nought byte":              {CommonName: "kubernetes-admin\x00.evil"},
	"name with a control character":        {CommonName: "kubernetes-admin\x01"},
	"name with a delete character":         {CommonName: "kubernetes-admin\x7f"},
	"name with an escape character":        {CommonName: "kubernetes-admin\x1b[2K"},
	"name with letters of the world":       {CommonName: "管理员-größe-😈"},
	"name with a letter of another script": {CommonName: "kubernetes-аdmin"},
	"name with a combining letter":         {CommonName: "kubernetes-ádmin"},
	"name with an invisible letter":        {CommonName: "kubernetes-admin\u200b"},
	"name with a wide space":               {CommonName: "\u00a0kubernetes-admin\u2003"},
	"name with a next line character":      {CommonName: "kubernetes-admin\u0085"},
	"name with a comma":                    {CommonName: "bob,kubernetes-admin"},
	"name with a percent sign":             {CommonName: "kubernetes%2dadmin"},
	"name that is empty":                   {CommonName: ""},
	"name that is a space":                 {CommonName: " "},
	"name of anonymous":                    {CommonName: "system:anonymous"},
	"name of masters":                      {CommonName: "system:masters"},
	"name of an account":                   {CommonName: "system:serviceaccount:attack:robot"},
	"name of a node":                       {CommonName: "system:node:attack"},
	"name of the front proxy":              {CommonName: "front-proxy-client"},
	"group with a space before":            {CommonName: "bob", Organization: []string{" system:masters"}},
	"group with a space behind":            {CommonName: "bob", Organization: []string{"system:masters "}},
	"group with a tab behind":              {CommonName: "bob", Organization: []string{"system:masters\t"}},
	"group with a line feed":               {CommonName: "bob", Organization: []string{"a\nsystem:masters"}},
	"group with a line break and a header": {CommonName: "bob", Organization: []string{"a\r\nX-Remote-Group: system:masters"}},
	"group with a nought byte":             {CommonName: "bob", Organization: []string{"system:masters\x00"}},
	"group with a comma":                   {CommonName: "bob", Organization: []string{"a,system:masters", "a, system:masters"}},
	"group with letters of the world":      {CommonName: "bob", Organization: []string{"größe", "小组"}},
	"group that is empty":                  {CommonName: "bob", Organization: []string{""}},
	"group that is empty, and another":     {CommonName: "bob", Organization: []string{"", "team"}},
	"group of anonymous":                   {CommonName: "bob", Organization: []string{"system:unauthenticated"}},
	"group of accounts":                    {CommonName: "bob", Organization: []string{"system:serviceaccounts"}},
	"no name but the group of masters":     {Organization: []string{"system:masters"}},
}

// identities are the client certificates by name: of honest users, of users with
// odd names, and of servers that speak for others. "nobody" has none.
func identities(c *cluster.Cluster) (map[string]*tls.Certificate, error) {
	ca, err := tls.LoadX509KeyPair(c.CAFile(), filepath.Join(filepath.Dir(c.CAFile()), "ca.key"))
	if err != nil {
		return nil, err
	}
	certs := map[string]*tls.Certificate{}
	for name, files := range map[string]func() (string, string){"admin": c.AdminFiles, "front-proxy": c.FrontProxyClientFiles} {
		pair, err := tls.LoadX509KeyPair(files())
		if err != nil {
			return nil, err
		}
		certs[name] = &pair
	}
	for _, name := range []string{"mallory", "impersonator", "deputy"} {
		if certs[name], err = issue(&ca, pkix.Name{CommonName: name}); err != nil {
			return nil, err
		}
	}
	for name, subject := range oddNames {
		if certs[name], err = issue(&ca, subject); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return certs, nil
}

// issue signs a client certificate with a subject that hack/cluster would refuse.
func issue(ca *tls.Certificate, subject pkix.Name) (*tls.Certificate, error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: subject,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
