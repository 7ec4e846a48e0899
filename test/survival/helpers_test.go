package survival

import (
	"context"
	"net"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/asi-gateway/asi-gateway/hack/cluster"
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
	e := &env{stack: s, direct: clientset(t, s.RESTConfig(s.Servers(cluster.GroupMain)[0]))}
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clientset speaks protobuf over a connection of its own.
func clientset(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	config = ownConnection(config)
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	return client
}

// ownConnection gives a client connections of its own: client-go shares them among
// equal configurations.
func ownConnection(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
	return config
}

// eventually polls until condition returns nil.
func eventually(t *testing.T, within time.Duration, condition func(ctx context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, within, true, func(ctx context.Context) (bool, error) {
		// What the end of the wait does to the last attempt says nothing.
		if err := condition(ctx); ctx.Err() == nil || err == nil {
			last = err
		}
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("not within %s: %v", within, last)
	}
}

// within returns a context for one step of a test.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
