package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kyaml "sigs.k8s.io/yaml"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/validation"
)

// ReadDir reads the policies of all .yaml, .yml and .json files of a directory,
// in the order of their names. The error names file, line and field of
// everything that is wrong.
func ReadDir(dir string) ([]runtime.Object, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	var errs []error
	for _, entry := range entries {
		if entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
			continue
		}
		file := filepath.Join(dir, entry.Name())
		data, err := os.ReadFile(file)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		parsed, err := Parse(file, data)
		if err != nil {
			errs = append(errs, err)
		}
		objects = append(objects, parsed...)
	}
	return objects, errors.Join(errs...)
}

// Parse reads policies, with their defaults set, from YAML documents. Name is
// put before the line in errors.
func Parse(name string, data []byte) ([]runtime.Object, error) {
	p := newManifestParser(name)
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var document yaml.Node
		err := documents.Decode(&document)
		switch {
		case errors.Is(err, io.EOF):
			return p.objects, errors.Join(p.errs...)
		case err != nil:
			// Behind a broken document nothing can be told apart. The message has the
			// line: "yaml: line 5: ...".
			p.errs = append(p.errs, positioned(name, err))
			return p.objects, errors.Join(p.errs...)
		}
		if len(document.Content) == 1 && document.Content[0].Kind == yaml.ScalarNode && document.Content[0].Tag == "!!null" {
			continue
		}
		p.document(&document)
	}
}

type manifestParser struct {
	name    string
	decoder runtime.Decoder
	scheme  *runtime.Scheme
	objects []runtime.Object
	errs    []error
}

func newManifestParser(name string) *manifestParser {
	scheme := newScheme()
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	return &manifestParser{name: name, scheme: scheme, decoder: codecs.UniversalDeserializer()}
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	// Neither fails for types that are ours.
	_ = v1alpha1.AddToScheme(scheme)
	_ = v1alpha1.RegisterDefaults(scheme)
	return scheme
}

func (p *manifestParser) document(node *yaml.Node) {
	if path, again := repeatedKey(node, ""); again != nil {
		p.errs = append(p.errs, fmt.Errorf("%s:%d: %s: is there twice", p.name, again.Line, path))
		return
	}
	text, err := yaml.Marshal(node)
	if err != nil {
		p.fault(node, "", err.Error())
		return
	}
	// As kubectl reads it.
	encoded, err := kyaml.YAMLToJSON(text)
	if err != nil {
		p.fault(node, "", err.Error())
		return
	}
	object, _, err := p.decoder.Decode(encoded, nil, nil)
	if err != nil {
		p.decodeFault(node, encoded, err)
		return
	}
	p.scheme.Default(object)
	faults := Validate(object)
	for _, fault := range faults {
		p.fault(node, fault.Field, fault.Field+": "+fault.ErrorBody())
	}
	if len(faults) == 0 {
		p.objects = append(p.objects, object)
	}
}

// Validate checks a policy object with its defaults set.
func Validate(object runtime.Object) field.ErrorList {
	switch o := object.(type) {
	case *v1alpha1.RateLimit:
		return validation.ValidateRateLimit(o)
	case *v1alpha1.ClientClass:
		return validation.ValidateClientClass(o)
	case *v1alpha1.Switch:
		return validation.ValidateSwitch(o)
	case *v1alpha1.UpstreamGroup:
		return validation.ValidateUpstreamGroup(o)
	case *v1alpha1.Route:
		return validation.ValidateRoute(o)
	case *v1alpha1.CachedResource:
		return validation.ValidateCachedResource(o)
	default:
		return field.ErrorList{field.NotSupported(field.NewPath("kind"), object.GetObjectKind().GroupVersionKind().Kind,
			[]string{"CachedResource", "ClientClass", "RateLimit", "Route", "Switch", "UpstreamGroup"})}
	}
}

// The decoders tell which field they mean in their messages only.
var (
	strictField = regexp.MustCompile(`(?:unknown|duplicate) field "([^"]+)"`)
	typedField  = regexp.MustCompile(`Go struct field \w+\.([\w.]+) of type`)
)

func (p *manifestParser) decodeFault(node *yaml.Node, encoded []byte, err error) {
	if strict, ok := runtime.AsStrictDecodingError(err); ok {
		for _, err := range strict.Errors() {
			path := ""
			if found := strictField.FindStringSubmatch(err.Error()); found != nil {
				path = found[1]
			}
			p.fault(node, path, err.Error())
		}
		return
	}
	path, message := "", err.Error()
	switch found := typedField.FindStringSubmatch(err.Error()); {
	case found != nil:
		path = found[1]
	case runtime.IsMissingVersion(err):
		path = "apiVersion"
	case runtime.IsMissingKind(err):
		path = "kind"
	case runtime.IsNotRegisteredError(err):
		path = "kind"
		message = `want apiVersion "` + v1alpha1.SchemeGroupVersion.String() + `" and kind CachedResource, ClientClass, RateLimit, Route, Switch or UpstreamGroup`
		if !bytes.Contains(encoded, []byte(v1alpha1.SchemeGroupVersion.String()+`"`)) {
			path = "apiVersion"
		}
	default:
		path = unparsableField(encoded)
	}
	if path != "" && !strings.Contains(message, path) {
		message = path + ": " + message
	}
	p.fault(node, path, message)
}

// unparsable are the fields whose decoders do not say which field it is.
var unparsable = map[string]func([]byte) error{
	"spec.qps":                func(b []byte) error { return new(resource.Quantity).UnmarshalJSON(b) },
	"spec.qpsPerNode":         func(b []byte) error { return new(resource.Quantity).UnmarshalJSON(b) },
	"spec.duration":           func(b []byte) error { return new(metav1.Duration).UnmarshalJSON(b) },
	"spec.slowStart":          func(b []byte) error { return new(metav1.Duration).UnmarshalJSON(b) },
	"spec.failback":           func(b []byte) error { return new(metav1.Duration).UnmarshalJSON(b) },
	"spec.reads.maxStaleness": func(b []byte) error { return new(metav1.Duration).UnmarshalJSON(b) },
	"spec.compressAbove":      func(b []byte) error { return new(resource.Quantity).UnmarshalJSON(b) },
	"spec.tls.caBundle":       func(b []byte) error { return json.Unmarshal(b, new([]byte)) },
}

// unparsableField returns the one that does not parse.
func unparsableField(encoded []byte) string {
	for _, path := range slices.Sorted(maps.Keys(unparsable)) {
		if value := member(encoded, strings.Split(path, ".")); len(value) > 0 && unparsable[path](value) != nil {
			return path
		}
	}
	return ""
}

// member returns what stands at a path in JSON; nil if nothing does.
func member(encoded []byte, path []string) []byte {
	for _, name := range path {
		var object map[string]json.RawMessage
		if json.Unmarshal(encoded, &object) != nil {
			return nil
		}
		encoded = object[name]
	}
	return encoded
}

func (p *manifestParser) fault(node *yaml.Node, path, message string) {
	p.errs = append(p.errs, fmt.Errorf("%s:%d: %s", p.name, lineOf(node, path), message))
}

// repeatedKey finds a key that a mapping has twice.
func repeatedKey(node *yaml.Node, path string) (string, *yaml.Node) {
	seen := map[string]bool{}
	for i, n := range node.Content {
		below := path
		switch node.Kind {
		case yaml.MappingNode:
			if i%2 == 1 {
				below = strings.TrimPrefix(path+"."+node.Content[i-1].Value, ".")
				break
			}
			if seen[n.Value] {
				return strings.TrimPrefix(path+"."+n.Value, "."), n
			}
			seen[n.Value] = true
		case yaml.SequenceNode:
			below = fmt.Sprintf("%s[%d]", path, i)
		}
		if found, again := repeatedKey(n, below); again != nil {
			return found, again
		}
	}
	return "", nil
}

var yamlLine = regexp.MustCompile(`^yaml: line (\d+): (?:did )?`)

func positioned(name string, err error) error {
	if found := yamlLine.FindStringSubmatch(err.Error()); found != nil {
		return fmt.Errorf("%s:%s: %s", name, found[1], strings.TrimPrefix(err.Error(), found[0]))
	}
	return fmt.Errorf("%s: %w", name, err)
}

// lineOf returns the line of a field such as "spec.match.requests[0].verbs[1]",
// or of the nearest one around it that is there.
func lineOf(document *yaml.Node, path string) int {
	node := document
	if node.Kind == yaml.DocumentNode && len(node.Content) > 0 {
		node = node.Content[0]
	}
	line := node.Line
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		next := child(node, step)
		if next == nil {
			break
		}
		node, line = next, next.Line
	}
	return line
}

func child(node *yaml.Node, step string) *yaml.Node {
	switch node.Kind {
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(node.Content) {
			return node.Content[i]
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			if node.Content[i].Value == step {
				value := node.Content[i+1]
				if value.Kind == yaml.MappingNode || value.Kind == yaml.SequenceNode {
					// A block begins below its key, which is what the reader looks for.
					copied := *value
					copied.Line = node.Content[i].Line
					return &copied
				}
				return value
			}
		}
	}
	return nil
}
