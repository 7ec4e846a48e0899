package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

const (
	// getsPerSecond and listsPerSecond are of each reader.
	getsPerSecond  = 15
	listsPerSecond = 2
	// listsAtOnce is how often a reader asks the same at the same time: a gateway can
	// find out once for several, or forward once for several.
	listsAtOnce = 3
	// pageSize is of lists that are read page by page.
	pageSize = 7
)

// get reads registers, until ctx ends.
func (e *env) get(ctx context.Context, c *client) {
	pace := rate.NewLimiter(getsPerSecond, 1)
	for pace.Wait(ctx) == nil {
		registers := *e.registers.Load()
		e.getOne(context.WithoutCancel(ctx), c, registers[rand.IntN(len(registers))])
	}
}

func (e *env) getOne(ctx context.Context, c *client, r register) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	g := getting{by: c.name, call: e.record.now(), identity: identity{key: r.key()}}
	answer, err := c.rest.Get().Namespace(r.namespace).Resource(configMaps).Name(r.name).MaxRetries(0).Do(ctx).Get()
	e.record.finished.Add(1)
	if notFound(err, r.name) {
		e.record.read(g, absent)
		return
	}
	o, ok := answer.(*corev1.ConfigMap)
	if err != nil || !ok {
		e.record.failed()
		return
	}
	value := o.Data[valueKey]
	if g.identity, err = identify(o); err != nil {
		e.record.failed()
		return
	}
	e.record.read(g, value)
	e.record.saw(configMaps, g.rv)
}

// notFound tells whether an apiserver said that there is no such object; that it has
// no such resource is another thing.
func notFound(err error, name string) bool {
	status, ok := err.(apierrors.APIStatus)
	return ok && apierrors.IsNotFound(err) && status.Status().Details != nil && status.Status().Details.Name == name
}

// question is what a list or a watch is about.
type question struct {
	resource string
	selection
	limit int64
}

// questions are those that readers ask.
func (e *env) questions() []question {
	first, second := e.namespaces[0], e.namespaces[1]
	return []question{
		{configMaps, selecting("", "", ""), 0},
		{configMaps, selecting("", "", ""), pageSize},
		{configMaps, selecting(first, "", ""), 0},
		{configMaps, selecting(second, "", ""), pageSize},
		{configMaps, selecting("", "color=red", ""), 0},
		{configMaps, selecting("", "color=red", ""), pageSize},
		{configMaps, selecting(second, "color!=red", ""), 0},
		{configMaps, selecting("", "", "metadata.name="+pinned), 0},
		{nodes, selecting("", "", ""), 0},
		{nodes, selecting("", "color in (blue,green)", ""), 0},
		{nodes, selecting("", "", "spec.unschedulable=true"), 0},
	}
}

// list reads lists, one question after the other, until ctx ends.
func (e *env) list(ctx context.Context, c *client) {
	pace, questions := rate.NewLimiter(listsPerSecond, 1), e.questions()
	for i := rand.IntN(len(questions)); pace.Wait(ctx) == nil; i++ {
		var asking sync.WaitGroup
		for range listsAtOnce {
			asking.Go(func() { e.listOne(context.WithoutCancel(ctx), c, questions[i%len(questions)]) })
		}
		asking.Wait()
	}
}

// listOne reads a list, page by page if the question has a limit: all pages show the
// state that the first one has found.
func (e *env) listOne(ctx context.Context, c *client, q question) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	l := listing{by: c.name, selection: q.selection, call: e.record.now()}
	options := q.options()
	options.Limit = q.limit
	for {
		answer, err := c.rest.Get().NamespaceIfScoped(q.namespace, q.namespace != "").Resource(q.resource).
			VersionedParams(&options, scheme.ParameterCodec).MaxRetries(0).Do(ctx).Get()
		if err == nil {
			options.Continue, err = l.add(answer)
		}
		if err != nil {
			e.record.finished.Add(1)
			e.record.failed()
			return
		}
		if options.Continue == "" {
			break
		}
		e.record.mu.Lock()
		e.record.pages++
		e.record.mu.Unlock()
	}
	e.record.finished.Add(1)
	e.record.listed(q.resource, l)
	e.record.saw(q.resource, l.rv)
}

// add takes in a page, and returns the token for the next.
func (l *listing) add(page runtime.Object) (next string, err error) {
	m, err := meta.ListAccessor(page)
	if err != nil {
		return "", err
	}
	rv, err := strconv.ParseUint(m.GetResourceVersion(), 10, 64)
	if err != nil {
		return "", err
	}
	if l.rv != 0 && rv != l.rv {
		l.fault = fmt.Sprintf("goes on at %d", rv)
	}
	l.rv = rv
	items, err := meta.ExtractList(page)
	if err != nil {
		return "", err
	}
	for _, o := range items {
		i, err := identify(o)
		if err != nil {
			return "", err
		}
		l.items = append(l.items, i)
	}
	return m.GetContinue(), nil
}
