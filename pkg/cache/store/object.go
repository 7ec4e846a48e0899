package store

import (
	"errors"
	"strings"
	"unsafe"

	"github.com/asi-gateway/asi-gateway/pkg/cache/wire"
)

// ErrBackwards is for a change at a resource version that the store has already
// reached. The store stays as it is; whoever writes has to list again.
var ErrBackwards = errors.New("resource version goes backwards")

// Object is one object in one encoding. It is immutable once it is in a store.
type Object struct {
	wire.Meta
	// Key is what Key returns for the namespace and the name. Lists are ordered by it.
	Key string
	// Body is the object's bytes.
	Body *wire.Body
	// ItemSize is what the object adds to the body of a list, in bytes (see wire.Format).
	ItemSize int
}

// NewObject returns an object with its key.
func NewObject(meta wire.Meta, body *wire.Body, itemSize int) *Object {
	o := &Object{Meta: meta, Body: body, ItemSize: itemSize}
	o.setKey(Key(meta.Namespace, meta.Name))
	return o
}

// Key is namespace/name, or name for what has no namespace. It shares no memory
// with them.
func Key(namespace, name string) string {
	if namespace == "" {
		return strings.Clone(name)
	}
	return namespace + "/" + name
}

// setKey makes one string of key, namespace and name. The key must equal the one
// that the object has or is to have.
func (o *Object) setKey(key string) {
	o.Key = key
	if strings.HasPrefix(key, o.Namespace) && strings.HasSuffix(key, o.Name) {
		o.Namespace, o.Name = key[:len(o.Namespace)], key[len(key)-len(o.Name):]
	}
}

func (o *Object) position() name { return name(o.Key) }

// Memory is about how many bytes the object takes, without what is made for answers.
func (o *Object) Memory() int64 {
	memory := int(unsafe.Sizeof(*o)) + len(o.Key) + o.Body.Held()
	for _, value := range o.Fields {
		memory += int(unsafe.Sizeof(value)) + len(value)
	}
	return int64(memory)
}

func (o *Object) weight() Sum { return Sum{1, int64(o.ItemSize), o.Memory()} }
