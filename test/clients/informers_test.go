package clients

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/asi-gateway/asi-gateway/test/fixture"
)

var configMaps = corev1.SchemeGroupVersion.WithResource("configmaps")

// replica is an informer's store beside a LIST that does not pass the gateway.
type replica struct {
	kind  string
	store cache.Store
	list  func(ctx context.Context) (runtime.Object, error)
}

// TestInformersEqualADirectList churns objects under informers of all kinds, and
// restarts their gateway meanwhile.
func TestInformersEqualADirectList(t *testing.T) {
	eachMode(t, func(t *testing.T, shared *env) {
		e := shared.addGateway(t, "informers", "--shutdown-grace-period", "2s")
		for i := range 40 {
			e.createConfigMap(t, fmt.Sprintf("before-%03d", i), "0")
		}
		mark := e.markAudit(t)
		agent := "clients-informers-" + string(e.mode) + "/1"
		replicas := e.startInformers(t, agent)

		e.churn(t, 0, 150)
		for _, r := range replicas {
			r.mustConverge(t)
		}
		checkWatchLists(t, e.stack, mark, agent, len(replicas))

		// The gateway ends the watches and is gone for a while: the informers must
		// go on where they were, and not list again.
		mark = e.markAudit(t)
		before := e.g.Pid()
		if err := e.g.Restart(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		if e.g.Pid() == before {
			t.Fatal("the gateway has not been restarted")
		}
		e.churnDirect(t, 150, 250)
		for _, r := range replicas {
			r.mustConverge(t)
		}
		checkResumed(t, e.stack, mark, agent)
	})
}

// startInformers starts an informer of each kind, synced.
func (e *env) startInformers(t *testing.T, agent string) []replica {
	t.Helper()
	config := rest.CopyConfig(e.g.RESTConfig())
	config.UserAgent = agent
	protobuf := rest.CopyConfig(config)
	protobuf.ContentType = runtime.ContentTypeProtobuf
	protobuf.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	typed, err := kubernetes.NewForConfig(protobuf)
	must(t, err)
	untyped, err := dynamic.NewForConfig(config)
	must(t, err)
	partial, err := metadata.NewForConfig(config)
	must(t, err)
	direct := e.RESTConfig(e.Servers("main")[0])
	untypedDirect, err := dynamic.NewForConfig(direct)
	must(t, err)
	partialDirect, err := metadata.NewForConfig(direct)
	must(t, err)

	typedFactory := informers.NewSharedInformerFactoryWithOptions(typed, 0, informers.WithNamespace(e.namespace))
	untypedFactory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(untyped, 0, e.namespace, nil)
	partialFactory := metadatainformer.NewFilteredSharedInformerFactory(partial, 0, e.namespace, nil)
	replicas := []replica{
		{"typed", typedFactory.Core().V1().ConfigMaps().Informer().GetStore(), func(ctx context.Context) (runtime.Object, error) {
			return e.direct.CoreV1().ConfigMaps(e.namespace).List(ctx, metav1.ListOptions{})
		}},
		{"dynamic", untypedFactory.ForResource(configMaps).Informer().GetStore(), func(ctx context.Context) (runtime.Object, error) {
			return untypedDirect.Resource(configMaps).Namespace(e.namespace).List(ctx, metav1.ListOptions{})
		}},
		{"metadata", partialFactory.ForResource(configMaps).Informer().GetStore(), func(ctx context.Context) (runtime.Object, error) {
			return partialDirect.Resource(configMaps).Namespace(e.namespace).List(ctx, metav1.ListOptions{})
		}},
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		typedFactory.Shutdown()
		untypedFactory.Shutdown()
		partialFactory.Shutdown()
	})
	typedFactory.Start(ctx.Done())
	untypedFactory.Start(ctx.Done())
	partialFactory.Start(ctx.Done())
	synced := []cache.InformerSynced{
		typedFactory.Core().V1().ConfigMaps().Informer().HasSynced,
		untypedFactory.ForResource(configMaps).Informer().HasSynced,
		partialFactory.ForResource(configMaps).Informer().HasSynced,
	}
	if !cache.WaitForCacheSync(within(t, 30*time.Second).Done(), synced...) {
		t.Fatal("the informers have not synced")
	}
	return replicas
}

// mustConverge waits until the store holds what a direct LIST has, field by field.
func (r replica) mustConverge(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, func(ctx context.Context) error {
		list, err := r.list(ctx)
		if err != nil {
			return err
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			return err
		}
		if got := len(r.store.ListKeys()); got != len(items) || got == 0 {
			return fmt.Errorf("%s store has %d objects, LIST %d", r.kind, got, len(items))
		}
		for _, want := range items {
			got, ok, err := r.store.Get(want)
			if err != nil || !ok {
				return fmt.Errorf("%s store lacks an object: %v", r.kind, err)
			}
			// Items of lists have no kind; what watches bring may have one.
			got = got.(runtime.Object).DeepCopyObject()
			got.(runtime.Object).GetObjectKind().SetGroupVersionKind(want.GetObjectKind().GroupVersionKind())
			if !equality.Semantic.DeepEqual(got, want) {
				return fmt.Errorf("%s store differs from LIST:\n%v\n%v", r.kind, got, want)
			}
		}
		return nil
	})
}

// checkWatchLists checks that each informer filled its store by a watch that
// sends the initial state, and none by a list.
func checkWatchLists(t *testing.T, s *stack, mark auditMark, agent string, want int) {
	t.Helper()
	initial := map[string]bool{}
	for _, event := range s.auditSince(t, mark, func(event *auditv1.Event) bool { return event.UserAgent == agent }) {
		switch {
		case event.Verb == "list":
			t.Errorf("an informer listed: %s", event.RequestURI)
		case strings.Contains(event.RequestURI, "sendInitialEvents=true"):
			initial[string(event.AuditID)] = true
		}
	}
	if len(initial) != want && !(fixture.Caches() && len(initial) < want) {
		t.Errorf("%d watches asked for the initial state, want %d", len(initial), want)
	}
}

// checkResumed checks that all watches since the mark began at a resource version
// that the informer had.
func checkResumed(t *testing.T, s *stack, mark auditMark, agent string) {
	t.Helper()
	resumed := 0
	for _, event := range s.auditSince(t, mark, func(event *auditv1.Event) bool { return event.UserAgent == agent }) {
		if event.Stage != auditv1.StageResponseStarted {
			continue
		}
		u, err := url.ParseRequestURI(event.RequestURI)
		must(t, err)
		version := u.Query().Get("resourceVersion")
		if event.Verb != "watch" || u.Query().Has("sendInitialEvents") || version == "" || version == "0" {
			t.Errorf("an informer began anew after its watch was ended: %s %s", event.Verb, event.RequestURI)
			continue
		}
		resumed++
	}
	if resumed < 3 && !fixture.Caches() {
		t.Errorf("%d watches were resumed, want at least one of each informer", resumed)
	}
}

func (e *env) createConfigMap(t *testing.T, name, value string) {
	t.Helper()
	must(t, createConfigMap(t.Context(), e.direct, e.namespace, name, value))
}

func createConfigMap(ctx context.Context, client kubernetes.Interface, namespace, name, value string) error {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"suite": "clients"}},
		Data:       map[string]string{"value": value},
	}
	_, err := client.CoreV1().ConfigMaps(namespace).Create(ctx, object, metav1.CreateOptions{})
	return err
}

// churn creates objects from the first number to the last through the gateway,
// updates every second and deletes every third.
func (e *env) churn(t *testing.T, first, last int) {
	t.Helper()
	must(t, churn(t.Context(), e.via, e.namespace, first, last))
}

func (e *env) churnDirect(t *testing.T, first, last int) {
	t.Helper()
	must(t, churn(t.Context(), e.direct, e.namespace, first, last))
}

func churn(ctx context.Context, client kubernetes.Interface, namespace string, first, last int) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	objects := client.CoreV1().ConfigMaps(namespace)
	for i := first; i < last; i++ {
		group.Go(func() error {
			name := fmt.Sprintf("churn-%04d", i)
			if err := createConfigMap(ctx, client, namespace, name, "1"); err != nil {
				return err
			}
			if i%2 == 0 {
				object, err := objects.Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				object.Data["value"] = "2"
				if _, err := objects.Update(ctx, object, metav1.UpdateOptions{}); err != nil {
					return err
				}
			}
			if i%3 == 0 {
				return objects.Delete(ctx, name, metav1.DeleteOptions{})
			}
			return nil
		})
	}
	return group.Wait()
}
