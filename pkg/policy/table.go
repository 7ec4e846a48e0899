package policy

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"
)

// table holds all objects of a kind as the reflector last saw them, and says
// when they change.
type table[T any] struct {
	changed func()

	mu sync.Mutex
	// objects are by name: policies have no namespace.
	objects map[string]*T
	synced  bool
}

var _ cache.ReflectorStore = &table[int]{}

func newTable[T any](changed func()) *table[T] {
	return &table[T]{changed: changed, objects: map[string]*T{}}
}

// list returns the objects, ordered by name, and whether they are all.
func (t *table[T]) list() (objects []*T, synced bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(t.objects)) {
		objects = append(objects, t.objects[name])
	}
	return objects, t.synced
}

// fill sets the objects of an earlier run, until the reflector has newer ones.
func (t *table[T]) fill(objects []*T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, o := range objects {
		// JSON knows null.
		if o == nil {
			continue
		}
		if name, err := nameOf(o); err == nil {
			t.objects[name] = o
		}
	}
}

func nameOf(object any) (string, error) {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return "", err
	}
	return accessor.GetName(), nil
}

// Add implements cache.ReflectorStore.
func (t *table[T]) Add(object any) error { return t.Update(object) }

// Update implements cache.ReflectorStore.
func (t *table[T]) Update(object any) error {
	o, ok := object.(*T)
	if !ok {
		return fmt.Errorf("unexpected object %T", object)
	}
	name, err := nameOf(o)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.objects[name] = o
	t.mu.Unlock()
	t.changed()
	return nil
}

// Delete implements cache.ReflectorStore.
func (t *table[T]) Delete(object any) error {
	name, err := nameOf(object)
	if err != nil {
		return err
	}
	t.mu.Lock()
	delete(t.objects, name)
	t.mu.Unlock()
	t.changed()
	return nil
}

// Replace implements cache.ReflectorStore.
func (t *table[T]) Replace(objects []any, _ string) error {
	fresh := make(map[string]*T, len(objects))
	for _, object := range objects {
		o, ok := object.(*T)
		if !ok {
			return fmt.Errorf("unexpected object %T", object)
		}
		name, err := nameOf(o)
		if err != nil {
			return err
		}
		fresh[name] = o
	}
	t.mu.Lock()
	t.objects, t.synced = fresh, true
	t.mu.Unlock()
	t.changed()
	return nil
}

// Resync implements cache.ReflectorStore; there is nothing to repeat.
func (t *table[T]) Resync() error { return nil }
