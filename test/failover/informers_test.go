package failover

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

const (
	informerCount = 20
	// informerAgent is what their names begin with.
	informerAgent = "agents-informer-"
)

// failover is something that moves clients from server to server.
type failover struct {
	what string
	do   func(t *testing.T)
}

// TestInformersMissNothing has informers follow objects while servers come and go.
func TestInformersMissNothing(t *testing.T) {
	e := through(t, frontProxy)
	must(t, fill(t.Context(), e.direct(t), e.namespace, "object", 50, 100))
	stores := e.startInformers(t)
	e.mustConverge(t, stores)
	mark := e.markAudit(t)
	failovers := e.failovers()
	for _, f := range failovers {
		stop := e.churn(t, 50*time.Millisecond)
		// client-go lists again after a watch that has ended within a second of its
		// beginning and has brought nothing.
		pause(t, 1500*time.Millisecond)
		begun := time.Now()
		f.do(t)
		pause(t, time.Second)
		stop()
		took := e.mustConverge(t, stores)
		t.Logf("%s: %d stores equal a direct LIST %s after the last change, %s after it began", f.what, len(stores), ms(took), ms(time.Since(begun)))
	}
	relists, watches := 0, 0
	for _, a := range e.auditSince(t, mark, servers, informerAgent) {
		switch {
		case a.Verb == "list" || strings.Contains(a.RequestURI, "sendInitialEvents=true") && a.Stage == "ResponseStarted":
			relists++
		case a.Verb == "watch" && a.Stage == "ResponseStarted":
			watches++
		}
	}
	t.Logf("%d informers over %d failovers: %d watches went on where they were, %d relists", informerCount, len(failovers), watches, relists)
	if watches < informerCount {
		t.Errorf("only %d watches were opened again: the informers have not noticed anything", watches)
	}
	// Every revision that an informer has is known to all servers, so that none should
	// list again; but a client that is kept from running may.
	if 4*relists > watches {
		t.Errorf("%d relists, and only %d watches that went on", relists, watches)
	}
}

// failovers are what is done one after the other; in long tests twenty at random.
func (e *env) failovers() []failover {
	kill := func(names ...string) failover {
		return failover{fmt.Sprintf("kill -9 of %v", names), func(t *testing.T) {
			e.kill(t, names...)
			pause(t, time.Second)
			e.revive(t, names...)
			e.awaitHealth(t, names[0], true)
		}}
	}
	freeze := func(names ...string) failover {
		return failover{fmt.Sprintf("freezing of %v for %s", names, patience+machine), func(t *testing.T) {
			e.freeze(t, names...)
			pause(t, patience+machine)
			e.resume(t, names...)
			e.awaitHealth(t, names[0], true)
		}}
	}
	if !fixture.Soak() {
		return []failover{
			{"kill -9 of main-0", func(t *testing.T) { e.kill(t, "main-0") }},
			// Main is gone with it, and then half of what stands in for it.
			freeze("main-1"), freeze("bypass-0"),
		}
	}
	kinds := []failover{
		kill("main-0"), kill("main-1"), kill("bypass-0"), kill("main-0", "main-1"),
		freeze("main-0"), freeze("main-1"), freeze("bypass-0"), freeze("main-0", "main-1"),
	}
	var all []failover
	for range 20 {
		all = append(all, kinds[rand.IntN(len(kinds))])
	}
	return all
}

// startInformers starts informers over the config maps of the test's namespace, each
// with a name and connections of its own, and returns their stores once they are
// filled.
func (e *env) startInformers(t *testing.T) (stores []cache.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var synced []cache.InformerSynced
	for i := range informerCount {
		config := e.g.RESTConfig()
		config.UserAgent = fmt.Sprintf("%s%d/1.0", informerAgent, i)
		// client-go shares connections among equal configurations.
		config.Dial = (&net.Dialer{Timeout: 5 * time.Second}).DialContext
		if i%2 == 0 {
			config.ContentType = runtime.ContentTypeProtobuf
		}
		client, err := kubernetes.NewForConfig(config)
		must(t, err)
		factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(e.namespace))
		informer := factory.Core().V1().ConfigMaps().Informer()
		stores, synced = append(stores, informer.GetStore()), append(synced, informer.HasSynced)
		factory.Start(ctx.Done())
		t.Cleanup(factory.Shutdown)
	}
	// Runs before the factories wait for their informers to end.
	t.Cleanup(cancel)
	if !cache.WaitForCacheSync(within(t, 30*time.Second).Done(), synced...) {
		t.Fatal("the informers have not synced")
	}
	return stores
}

// mustConverge waits until all stores hold what a direct LIST has, field by field,
// and tells how long that took.
func (e *env) mustConverge(t *testing.T, stores []cache.Store) time.Duration {
	t.Helper()
	begun := time.Now()
	direct := e.direct(t).CoreV1().ConfigMaps(e.namespace)
	eventually(t, 30*time.Second, func(ctx context.Context) error {
		list, err := direct.List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) == 0 {
			err = errors.New("there is nothing to compare stores with")
		}
		for i, store := range stores {
			if err == nil {
				err = compare(i, store, list)
			}
		}
		return err
	})
	return time.Since(begun)
}

func compare(number int, store cache.Store, list *corev1.ConfigMapList) error {
	if got := len(store.ListKeys()); got != len(list.Items) {
		return fmt.Errorf("store %d has %d objects, LIST %d", number, got, len(list.Items))
	}
	for i := range list.Items {
		want := &list.Items[i]
		got, ok, err := store.Get(want)
		if err != nil || !ok {
			return fmt.Errorf("store %d lacks %s: %v", number, want.Name, err)
		}
		// Items of lists have no kind; what watches bring may have one.
		object := got.(*corev1.ConfigMap).DeepCopy()
		object.TypeMeta = want.TypeMeta
		if !equality.Semantic.DeepEqual(object, want) {
			return fmt.Errorf("store %d differs from LIST:\n%v\n%v", number, object, want)
		}
	}
	return nil
}
