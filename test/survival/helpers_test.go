package survival

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
	"github.com/asi-gateway/asi-gateway/test/fixture"
)

// What tests say often.
var (
	must       = fixture.Must
	eventually = fixture.Eventually
	within     = fixture.Within
)

// env is what one test has.
type env struct {
	*stack
	// direct goes to an apiserver, and is of use while that is up.
	direct *kubernetes.Clientset
	// namespace is the test's own.
	namespace string
}

// setUp prepares a test, which fails if a gateway panicked.
func setUp(t *testing.T) *env {
	t.Helper()
	s, err := theStack()
	must(t, err)
	e := &env{stack: s, direct: fixture.Clientset(t, s.RESTConfig(s.Servers(cluster.GroupMain)[0]))}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "survival-"}}
	namespace, err = e.direct.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{})
	must(t, err)
	e.namespace = namespace.Name
	t.Cleanup(func() {
		for _, g := range s.gateways {
			if err := g.Panics(); err != nil {
				t.Error(err)
			}
		}
	})
	return e
}
