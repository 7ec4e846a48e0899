package attack

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// settled is how long after a change of roles the gateway may still answer as
// before it.
const settled = time.Second

// vault is a kube-apiserver, and gateways that answer reads from memory.
type vault struct {
	admin *kubernetes.Clientset
	// doors are ways in by name; "direct" is the kube-apiserver itself.
	doors map[string]string
	// clients are by user. Those without one are anonymous.
	clients map[string]*http.Client
}

// gateways are the doors that answer from memory.
func (v *vault) gateways() []string {
	return []string{string(fixture.FrontProxy), string(fixture.Impersonation)}
}

var theVault = sync.OnceValues(openVault)

// people are the users who try to read, with their groups.
var people = map[string][]string{
	"nobody-special": nil, "ns-reader": nil, "named-reader": nil, "status-reader": nil, "lister": nil, "getter": nil, "watcher": nil,
	"cluster-reader": nil, "secret-reader": nil, "in-a-group": {"pod-readers"}, "deputy": nil, "revoked": nil, "promoted": nil, "shrunk": nil,
	"system:node:n1": {"system:nodes"}, "system:node:n2": {"system:nodes"}, "system:node:liar": nil,
	"system:serviceaccount:vault-a:default": {"system:serviceaccounts", "system:serviceaccounts:vault-a"},
}

func openVault() (*vault, error) {
	path, err := suite.Gateway()
	if err != nil {
		return nil, err
	}
	c, err := suite.StartCluster(cluster.Options{MainServers: 1, BypassServers: -1})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	v := &vault{doors: map[string]string{"direct": c.Servers(cluster.GroupMain)[0]}, clients: map[string]*http.Client{}}
	if v.admin, err = kubernetes.NewForConfig(c.RESTConfig(v.doors["direct"])); err != nil {
		return nil, err
	}
	for _, mode := range fixture.Modes() {
		g, err := fixture.AddGateway(ctx, c, path, "vault-"+string(mode), mode, "--cache-resources", "pods,secrets,configmaps,nodes")
		if err != nil {
			return nil, err
		}
		if err := g.NeverShed(ctx); err != nil {
			return nil, err
		}
		v.doors[string(mode)] = g.URL()
	}
	if err := v.furnish(ctx); err != nil {
		return nil, err
	}
	for name, groups := range people {
		certPEM, keyPEM, err := c.IssueClientCert(name, groups, time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		if err != nil {
			return nil, err
		}
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return nil, err
		}
		v.clients[name] = clientOf(c, pair)
	}
	v.clients["anonymous"] = clientOf(c)
	return v, nil
}

func clientOf(c *cluster.Cluster, certs ...tls.Certificate) *http.Client {
	s, err := newSide(c, "", c.Servers(cluster.GroupMain)[0], nil)
	if err != nil {
		panic(err)
	}
	return &http.Client{Timeout: answerTimeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.roots, Certificates: certs}, ForceAttemptHTTP2: true,
	}}
}

// furnish makes objects, and roles that allow some of them to some.
func (v *vault) furnish(ctx context.Context) error {
	for _, ns := range []string{"vault-a", "vault-b"} {
		if _, err := v.admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		if _, err := v.admin.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
			return err
		}
		for i, name := range []string{"one", "two"} {
			if _, err := v.admin.CoreV1().Secrets(ns).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"key": ns + name}}, metav1.CreateOptions{}); err != nil {
				return err
			}
			if _, err := v.admin.CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
				return err
			}
			if _, err := v.admin.CoreV1().Pods(ns).Create(ctx, vaultPod(name, fmt.Sprint("n", i+1)), metav1.CreateOptions{}); err != nil {
				return err
			}
		}
	}
	for _, node := range []string{"n1", "n2"} {
		if _, err := v.admin.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	rule := func(verbs, resources string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{APIGroups: []string{""}, Verbs: strings.Split(verbs, ","), Resources: strings.Split(resources, ","), ResourceNames: names}
	}
	for user, rules := range map[string][]rbacv1.PolicyRule{
		"ns-reader": {rule("get,list,watch", "pods,configmaps")}, "named-reader": {rule("get,list,watch", "pods,secrets", "one")},
		"status-reader": {rule("get,list,watch", "pods/status,pods/log")}, "lister": {rule("list", "pods,secrets")}, "getter": {rule("get", "pods,secrets")},
		"watcher": {rule("watch", "pods,secrets")}, "secret-reader": {rule("*", "secrets")}, "revoked": {rule("get,list,watch", "pods,secrets")},
		"shrunk": {rule("get,list,watch", "pods,secrets")}, "promoted": nil,
	} {
		if err := v.allow(ctx, user, rules); err != nil {
			return err
		}
	}
	for user, subject := range map[string]rbacv1.Subject{
		"cluster-reader": {Kind: rbacv1.UserKind, Name: "cluster-reader"}, "pod-readers": {Kind: rbacv1.GroupKind, Name: "pod-readers"},
		"deputy": {Kind: rbacv1.UserKind, Name: "deputy"},
	} {
		rules := []rbacv1.PolicyRule{rule("get,list,watch", "pods,nodes")}
		if user == "deputy" {
			rules = []rbacv1.PolicyRule{rule("impersonate", "users", "ns-reader", "nobody-special")}
		}
		if _, err := v.admin.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}, metav1.CreateOptions{}); err != nil {
			return err
		}
		subject.APIGroup = rbacv1.GroupName
		if _, err := v.admin.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: user}, Subjects: []rbacv1.Subject{subject},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		}, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func vaultPod(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "image:1"}}, TerminationGracePeriodSeconds: new(int64),
			Volumes: []corev1.Volume{{Name: "secret", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name}}}},
		},
	}
}

// allow makes a role in vault-a, and binds a user to it.
func (v *vault) allow(ctx context.Context, user string, rules []rbacv1.PolicyRule) error {
	if _, err := v.admin.RbacV1().Roles("vault-a").Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: user}, Rules: rules}, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := v.admin.RbacV1().RoleBindings("vault-a").Create(ctx, bindingOf(user), metav1.CreateOptions{})
	return err
}

func bindingOf(user string) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}
}

// seenAs is what a user gets: a status, and the names of what is shown.
type seenAs struct {
	status int
	names  string
}

// look reads a path as a user.
func (v *vault) look(ctx context.Context, door, user, path string, header ...string) (s seenAs, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, v.doors[door]+path, http.NoBody)
	if err != nil {
		return s, err
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := v.clients[user].Do(r)
	if err != nil {
		return s, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return s, err
	}
	s.status = response.StatusCode
	if s.status != http.StatusOK {
		return s, nil
	}
	var names []string
	decoder := json.NewDecoder(strings.NewReader(string(body)))
	for {
		// A list, an object, or the events of a watch.
		var shown struct {
			metav1.PartialObjectMetadata
			Items  []metav1.PartialObjectMetadata
			Object metav1.PartialObjectMetadata
		}
		if err := decoder.Decode(&shown); err == io.EOF {
			break
		} else if err != nil {
			return s, fmt.Errorf("%w: %.200s", err, body)
		}
		for _, o := range append(shown.Items, shown.PartialObjectMetadata, shown.Object) {
			if o.Name != "" {
				names = append(names, o.Namespace+"/"+o.Name)
			}
		}
	}
	slices.Sort(names)
	s.names = strings.Join(names, " ")
	return s, nil
}

// secretsOf are the paths that everybody tries.
func secretsOf() (paths []string) {
	const a, b = "/api/v1/namespaces/vault-a", "/api/v1/namespaces/vault-b"
	for _, version := range []string{"", "resourceVersion=0"} {
		for _, path := range []string{
			"/api/v1/pods", "/api/v1/secrets", "/api/v1/configmaps", "/api/v1/nodes", "/api/v1/nodes/n1", "/api/v1/nodes/n2",
			a + "/pods", a + "/secrets", a + "/configmaps", b + "/pods", b + "/secrets", b + "/configmaps",
			a + "/pods/one", a + "/pods/two", a + "/secrets/one", a + "/secrets/two", a + "/configmaps/one", b + "/pods/one", b + "/secrets/one",
			a + "/pods/one/status", a + "/secrets/none", b + "/secrets/none",
			"/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn2", "/api/v1/pods?fieldSelector=spec.nodeName%21%3Dn2",
			"/api/v1/pods?fieldSelector=spec.nodeName%3Dn1,spec.nodeName%3Dn2", "/api/v1/pods?fieldSelector=spec.nodeName%3D",
			a + "/pods?fieldSelector=spec.nodeName%3Dn1", a + "/pods?fieldSelector=metadata.name%3Done", a + "/secrets?fieldSelector=metadata.name%3Done",
			a + "/secrets?fieldSelector=metadata.name%3Dtwo", a + "/pods?labelSelector=app%3Done", "/api/v1/pods?labelSelector=app%3Done",
			"/api/v1/secrets?fieldSelector=metadata.namespace%3Dvault-a", "/api/v1/secrets?fieldSelector=metadata.name%3Done,metadata.namespace%3Dvault-a",
			"/api/v1/pods?fieldSelector=metadata.namespace%3Dvault-a", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1",
		} {
			if version != "" && strings.HasSuffix(path, "/status") {
				continue
			}
			paths = append(paths, with(path, version))
		}
	}
	for _, path := range []string{"/api/v1/pods", a + "/pods", a + "/secrets?fieldSelector=metadata.name%3Done", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1"} {
		paths = append(paths, with(path, "watch=1&resourceVersion=0&timeoutSeconds=1"),
			with(path, "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"))
	}
	return paths
}

func with(path, query string) string {
	switch {
	case query == "":
		return path
	case strings.Contains(path, "?"):
		return path + "&" + query
	default:
		return path + "?" + query
	}
}

// TestNobodyReadsFromMemoryWhatTheApiserverWouldRefuse has everybody try everything
// at every door, first when nothing is known of him, then when it is.
func TestNobodyReadsFromMemoryWhatTheApiserverWouldRefuse(t *testing.T) {
	v, err := theVault()
	if err != nil {
		t.Fatal(err)
	}
	users := []string{"anonymous"}
	for user := range people {
		users = append(users, user)
	}
	granted, refused := 0, 0
	var mu sync.Mutex
	t.Run("all", func(t *testing.T) {
		for _, user := range users {
			t.Run(user, func(t *testing.T) {
				t.Parallel()
				for _, path := range secretsOf() {
					want, err := v.look(t.Context(), "direct", user, path)
					if err != nil {
						t.Fatal(err)
					}
					mu.Lock()
					if want.status == http.StatusOK {
						granted++
					} else {
						refused++
					}
					mu.Unlock()
					for _, door := range v.gateways() {
						for _, known := range []string{"first", "again"} {
							got, err := v.look(t.Context(), door, user, path)
							if err != nil || got != want {
								t.Errorf("%s, %s: %s gets %v (%v), from the apiserver %v", door, known, path, got, err, want)
							}
						}
					}
				}
			})
		}
	})
	if granted < 100 || refused < 1000 {
		t.Errorf("the table has %d reads that are granted and %d that are refused", granted, refused)
	}
	t.Logf("%d reads granted, %d refused, each compared at %d gateways", granted, refused, len(v.gateways()))
}

// TestWhoActsAsAnotherReadsWhatThatOneMay goes in as one user on behalf of another.
func TestWhoActsAsAnotherReadsWhatThatOneMay(t *testing.T) {
	v, err := theVault()
	if err != nil {
		t.Fatal(err)
	}
	for _, as := range []string{"ns-reader", "nobody-special", "cluster-reader", "system:node:n1"} {
		for _, user := range []string{"deputy", "ns-reader", "cluster-reader"} {
			for _, path := range []string{"/api/v1/namespaces/vault-a/pods?resourceVersion=0", "/api/v1/pods?resourceVersion=0", "/api/v1/namespaces/vault-a/secrets/one"} {
				want, err := v.look(t.Context(), "direct", user, path, "Impersonate-User", as)
				if err != nil {
					t.Fatal(err)
				}
				for _, door := range v.gateways() {
					if got, err := v.look(t.Context(), door, user, path, "Impersonate-User", as); err != nil || got != want {
						t.Errorf("%s: %s as %s: %s gets %v (%v), from the apiserver %v", door, user, as, path, got, err, want)
					}
				}
			}
		}
	}
}

// TestWhatIsRevokedIsRefusedWithinASecond takes rights away, gives them, and takes
// them away again, by every change that can do it.
func TestWhatIsRevokedIsRefusedWithinASecond(t *testing.T) {
	v, err := theVault()
	if err != nil {
		t.Fatal(err)
	}
	const pods, secret = "/api/v1/namespaces/vault-a/pods?resourceVersion=0", "/api/v1/namespaces/vault-a/secrets/one?resourceVersion=0"
	roles, bindings := v.admin.RbacV1().Roles("vault-a"), v.admin.RbacV1().RoleBindings("vault-a")
	all := []rbacv1.PolicyRule{{APIGroups: []string{""}, Verbs: []string{"get", "list", "watch"}, Resources: []string{"pods", "secrets"}}}
	patchRole := func(ctx context.Context, name string, rules []rbacv1.PolicyRule) error {
		patch, err := json.Marshal(map[string]any{"rules": rules})
		if err != nil {
			return err
		}
		_, err = roles.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	for _, tc := range []struct {
		name, user, path string
		grant, revoke    func(ctx context.Context) error
	}{
		{"the binding is deleted", "revoked", pods,
			func(ctx context.Context) error {
				_, err := bindings.Create(ctx, bindingOf("revoked"), metav1.CreateOptions{})
				return err
			},
			func(ctx context.Context) error { return bindings.Delete(ctx, "revoked", metav1.DeleteOptions{}) }},
		{"the role loses its rule", "shrunk", secret,
			func(ctx context.Context) error { return patchRole(ctx, "shrunk", all) },
			func(ctx context.Context) error { return patchRole(ctx, "shrunk", []rbacv1.PolicyRule{}) }},
		{"the role is deleted", "promoted", pods,
			func(ctx context.Context) error {
				_, err := roles.Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "promoted"}, Rules: all}, metav1.CreateOptions{})
				return err
			},
			func(ctx context.Context) error { return roles.Delete(ctx, "promoted", metav1.DeleteOptions{}) }},
		{"the subject is taken out of a cluster role's binding", "cluster-reader", "/api/v1/pods?resourceVersion=0",
			func(ctx context.Context) error {
				_, err := v.admin.RbacV1().ClusterRoleBindings().Patch(ctx, "cluster-reader", types.MergePatchType,
					[]byte(`{"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"cluster-reader"}]}`), metav1.PatchOptions{})
				return err
			},
			func(ctx context.Context) error {
				_, err := v.admin.RbacV1().ClusterRoleBindings().Patch(ctx, "cluster-reader", types.MergePatchType, []byte(`{"subjects":[]}`), metav1.PatchOptions{})
				return err
			}},
		{"the pod that needs it leaves the node", "system:node:n1", secret,
			func(ctx context.Context) error {
				_, err := v.admin.CoreV1().Pods("vault-a").Create(ctx, vaultPod("one", "n1"), metav1.CreateOptions{})
				return err
			},
			func(ctx context.Context) error {
				return v.admin.CoreV1().Pods("vault-a").Delete(ctx, "one", metav1.DeleteOptions{})
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// As the tests before have found it.
			granted := tc.name != "the role is deleted"
			if !granted {
				// Its role has no rules yet.
				if err := roles.Delete(t.Context(), "promoted", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				change, want := tc.revoke, http.StatusForbidden
				if !granted {
					change, want = tc.grant, http.StatusOK
				}
				if err := change(t.Context()); err != nil {
					t.Fatal(err)
				}
				v.agree(t, tc.user, tc.path, want)
				granted = !granted
			}
			if !granted {
				if err := tc.grant(t.Context()); err != nil {
					t.Fatal(err)
				}
				v.agree(t, tc.user, tc.path, http.StatusOK)
			}
		})
	}
}

// agree waits until the apiserver answers with a status, and looks whether the
// gateways do soon after it.
func (v *vault) agree(t *testing.T, user, path string, want int) {
	t.Helper()
	status := func(door string) int {
		s, err := v.look(t.Context(), door, user, path)
		if err != nil {
			t.Fatalf("%s: %v", door, err)
		}
		return s.status
	}
	eventually(t, 10*time.Second, func() error {
		if got := status("direct"); got != want {
			return fmt.Errorf("the apiserver answers %d, want %d", got, want)
		}
		return nil
	})
	began := time.Now()
	for _, door := range v.gateways() {
		for status(door) != want {
			if late := time.Since(began); late > settled {
				t.Errorf("%s: %s of %s is not %d %s after it is from the apiserver", door, user, path, want, late)
				break
			}
		}
	}
	// And so it stays.
	for range 20 {
		for _, door := range v.gateways() {
			if got := status(door); time.Since(began) > settled && got != want {
				t.Errorf("%s: %s of %s is %d later on", door, user, path, got)
			}
		}
	}
}
