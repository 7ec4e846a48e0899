package consistency

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// digest is of everything in an object but its resource version.
type digest [16]byte

// identity is one version of an object, as somebody has it.
type identity struct {
	// key is namespace and name with a slash between, or the name of what has no
	// namespace.
	key    string
	rv     uint64
	digest digest
}

func (i identity) String() string { return fmt.Sprintf("%s at %d (%x)", i.key, i.rv, i.digest[:3]) }

// object is one version of an object with what it can be selected by.
type object struct {
	identity
	namespace string
	labels    labels.Set
	fields    fields.Set
}

// storable is what all kinds of k8s.io/api are.
type storable interface {
	metav1.Object
	runtime.Object
	Marshal() ([]byte, error)
}

// identify returns which version of which object that is.
func identify(o runtime.Object) (identity, error) {
	s, ok := o.(storable)
	if !ok {
		return identity{}, fmt.Errorf("%T is no object", o)
	}
	text := s.GetResourceVersion()
	rv, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return identity{}, fmt.Errorf("%s has resource version %q: %w", s.GetName(), text, err)
	}
	return digested(s, rv)
}

// digested returns the identity of an object at a resource version. The object has
// none afterwards.
func digested(s storable, rv uint64) (identity, error) {
	s.SetResourceVersion("")
	// What is empty and what is not there are the same in protobuf, and maps are
	// sorted.
	body, err := s.Marshal()
	if err != nil {
		return identity{}, err
	}
	i := identity{key: keyOf(s.GetNamespace(), s.GetName()), rv: rv}
	sum := sha256.Sum256(body)
	copy(i.digest[:], sum[:])
	return i, nil
}

func keyOf(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

// describe returns an object as etcd holds it, at the revision of its last change.
func describe(s storable, rv uint64) (*object, error) {
	i, err := digested(s, rv)
	if err != nil {
		return nil, err
	}
	o := &object{identity: i, namespace: s.GetNamespace(), labels: s.GetLabels(), fields: fields.Set{"metadata.name": s.GetName()}}
	if o.namespace != "" {
		o.fields["metadata.namespace"] = o.namespace
	}
	if node, ok := s.(*corev1.Node); ok {
		o.fields["spec.unschedulable"] = strconv.FormatBool(node.Spec.Unschedulable)
	}
	return o, nil
}

func TestIdentityIsOfEverythingButTheResourceVersion(t *testing.T) {
	configMap := func(rv, value string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "x", ResourceVersion: rv},
			Data:       map[string]string{"value": value},
		}
	}
	first := identified(t, configMap("7", "1"))
	if first.key != "a/x" || first.rv != 7 {
		t.Errorf("identity is %v", first)
	}
	if same := identified(t, configMap("8", "1")); same.digest != first.digest {
		t.Error("the digest depends on the resource version")
	}
	if other := identified(t, configMap("7", "2")); other.digest == first.digest {
		t.Error("the digest does not depend on the content")
	}
	empty := configMap("7", "1")
	empty.BinaryData = map[string][]byte{}
	if same := identified(t, empty); same != first {
		t.Error("the digest tells an empty map from none")
	}
}

func identified(t *testing.T, o runtime.Object) identity {
	t.Helper()
	i, err := identify(o)
	must(t, err)
	return i
}
