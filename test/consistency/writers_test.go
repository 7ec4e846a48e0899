package consistency

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

const (
	// registersPerRound is how many are written and read at a time: so few that each is
	// written by several at once.
	registersPerRound = 6
	// writesPerSecond is of each writer, churnsPerSecond of each churner.
	writesPerSecond = 10
	churnsPerSecond = 8
	// valueKey is where a register has its value.
	valueKey = "value"
	// pinned is the name of an object in each namespace that changes all the time.
	pinned = "pinned"
)

// colors are a label by which is selected.
var colors = [2]string{"red", "blue"}

// register is an object that holds one value.
type register struct{ namespace, name, color string }

func (r register) key() string { return keyOf(r.namespace, r.name) }

func (r register) object(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: r.namespace, Name: r.name, Labels: map[string]string{"color": r.color}},
		Data:       map[string]string{valueKey: value},
	}
}

// newRegisters makes the registers of a new round, and deletes those of the one
// before, which are still being read and written.
func (e *env) newRegisters(t *testing.T) {
	t.Helper()
	var made []register
	for i := range registersPerRound {
		r := register{e.namespaces[i%2], fmt.Sprintf("register-%d", sequence.Add(1)), colors[i/2%2]}
		value := "first-of-" + r.name
		e.persist(t, r, value, func() *rest.Request {
			return e.setup.rest.Post().Namespace(r.namespace).Resource(configMaps).Body(r.object(value))
		})
		made = append(made, r)
	}
	if before := e.registers.Swap(&made); before != nil {
		e.dropRegisters(t, *before)
	}
}

func (e *env) dropRegisters(t *testing.T, all []register) {
	t.Helper()
	for _, r := range all {
		e.persist(t, r, absent, func() *rest.Request {
			return e.setup.rest.Delete().Namespace(r.namespace).Resource(configMaps).Name(r.name).Body(&metav1.DeleteOptions{})
		})
	}
}

// persist writes until that is acknowledged, or refused because it was done already.
func (e *env) persist(t *testing.T, r register, value string, request func() *rest.Request) {
	t.Helper()
	lost := false
	eventually(t, time.Minute, func(context.Context) error {
		switch o := e.write(t.Context(), r, value, request()); {
		case o == acknowledged, o == denied && lost:
			return nil
		default:
			lost = lost || o == unknown
			return fmt.Errorf("a write of %s has outcome %d", r.key(), o)
		}
	})
}

// write sends one write of a register and notes it.
func (e *env) write(ctx context.Context, r register, value string, request *rest.Request) outcome {
	call := e.record.now()
	o := e.send(ctx, configMaps, r.key(), request)
	e.record.wrote(r.key(), value, call, o)
	return o
}

// send sends a write and notes which resource version is known by its answer.
func (e *env) send(ctx context.Context, resource, key string, request *rest.Request) outcome {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	answer, o := send(ctx, request)
	e.record.finished.Add(1)
	if _, gone := answer.(*metav1.Status); gone {
		e.record.dropped(resource, key)
	} else if answer != nil {
		if written, err := identify(answer); err == nil {
			e.record.saw(resource, written.rv)
		}
	}
	e.record.mu.Lock()
	defer e.record.mu.Unlock()
	e.record.writes[o]++
	return o
}

// dropped notes that a deletion was acknowledged.
func (r *record) dropped(resource, key string) {
	at := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deletions[resource] = append(r.deletions[resource], deletion{at, key})
}

// overwrite gives registers values that nobody else gives, until ctx ends. The last
// write is brought to its end.
func (e *env) overwrite(ctx context.Context, c *client) {
	pace := rate.NewLimiter(writesPerSecond, 1)
	for i := 0; pace.Wait(ctx) == nil; i++ {
		registers := *e.registers.Load()
		r, value := registers[rand.IntN(len(registers))], fmt.Sprintf("%s-%d", c.name, i)
		request := c.rest.Put().Namespace(r.namespace).Resource(configMaps).Name(r.name).Body(r.object(value))
		e.write(context.WithoutCancel(ctx), r, value, request)
	}
}

// ballast makes lists of nodes so large that their outlines are asked for: nodes are
// quiet beside everything else.
var ballast = strings.Repeat("ballast ", 1024)

// life is how many objects of a churner there are at a time.
const life = 10

// churn creates, changes and deletes objects that nobody else writes, until ctx ends.
// An object changes its color twice, so that it leaves what is selected by it and
// comes back.
func (e *env) churn(ctx context.Context, c *client, resource string) {
	pace := rate.NewLimiter(churnsPerSecond, 1)
	whole := context.WithoutCancel(ctx)
	for i := 0; ; i++ {
		for step, age := range []int{0, 2, 5, life} {
			if pace.Wait(ctx) != nil {
				return
			}
			if i < age {
				continue
			}
			o := e.churned(c, resource, i-age, step)
			at := c.rest.Put()
			switch age {
			case 0:
				at = c.rest.Post()
			case life:
				at = c.rest.Delete()
			}
			at = at.NamespaceIfScoped(o.GetNamespace(), o.GetNamespace() != "").Resource(resource)
			if age > 0 {
				at = at.Name(o.GetName())
			}
			body := runtime.Object(o)
			if age == life {
				body = &metav1.DeleteOptions{}
			}
			e.send(whole, resource, keyOf(o.GetNamespace(), o.GetName()), at.Body(body))
		}
		if resource == configMaps {
			e.pin(whole, c, i)
		}
	}
}

// churned is the i-th object of a churner at a step of its life.
func (e *env) churned(c *client, resource string, i, step int) storable {
	name, color := fmt.Sprintf("%s-%s-%d", e.namespaces[0], c.name, i), (i+step)%2
	m := metav1.ObjectMeta{Name: name, Labels: map[string]string{"color": colors[color]}, Annotations: map[string]string{"step": fmt.Sprint(step)}}
	if resource == nodes {
		m.Annotations["ballast"] = ballast
		return &corev1.Node{ObjectMeta: m, Spec: corev1.NodeSpec{Unschedulable: color == 0}}
	}
	m.Namespace = e.namespaces[i%2]
	return &corev1.ConfigMap{ObjectMeta: m, Data: map[string]string{"step": fmt.Sprint(step)}}
}

// pin writes the pinned object of a namespace, and makes it if it is not there.
func (e *env) pin(ctx context.Context, c *client, i int) {
	r := register{e.namespaces[i%2], pinned, colors[0]}
	object := r.object(fmt.Sprintf("%s-%d", c.name, i))
	put := c.rest.Put().Namespace(r.namespace).Resource(configMaps).Name(r.name).Body(object)
	if e.send(ctx, configMaps, r.key(), put) == denied {
		e.send(ctx, configMaps, r.key(), c.rest.Post().Namespace(r.namespace).Resource(configMaps).Body(object))
	}
}
