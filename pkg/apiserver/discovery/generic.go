package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"sigs.k8s.io/yaml"
)

// mergeYAMLList goes by way of JSON, as kube-apiserver does to write YAML.
func mergeYAMLList(doc []byte, l list, group []byte) ([]byte, error) {
	return throughJSON(doc, func(doc []byte) ([]byte, error) { return mergeJSONList(doc, l, group) })
}

func staleYAML(doc []byte) ([]byte, error) { return throughJSON(doc, staleJSON) }

func throughJSON(doc []byte, change func([]byte) ([]byte, error)) ([]byte, error) {
	doc, err := yaml.YAMLToJSONStrict(doc)
	if err != nil {
		return nil, err
	}
	if doc, err = change(doc); err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(doc)
}

func staleJSON(doc []byte) ([]byte, error) {
	decoder := json.NewDecoder(bytes.NewReader(doc))
	// Numbers stay what they are.
	decoder.UseNumber()
	var top map[string]any
	if err := decoder.Decode(&top); err != nil {
		return nil, err
	}
	if err := markStale(top); err != nil {
		return nil, err
	}
	merged, err := json.Marshal(top)
	return indentAs(doc, merged), err
}

// cborMagic is the tag of self-described CBOR, by which Kubernetes' begins.
var cborMagic = []byte{0xd9, 0xd9, 0xf7}

func mergeCBORList(doc []byte, l list, group []byte) ([]byte, error) {
	return throughCBOR(doc, func(top map[string]any) error {
		if top["kind"] != l.kind {
			return fmt.Errorf("the document is of kind %q, not %q", top["kind"], l.kind)
		}
		var ours any
		if err := json.Unmarshal(group, &ours); err != nil {
			return err
		}
		items, ok := top[l.field].([]any)
		if !ok && top[l.field] != nil {
			return fmt.Errorf("%q is not a list", l.field)
		}
		there := 0
		for i, item := range items {
			if nameAt(item, l.name...) == groupName {
				items[i] = ours
				there++
			}
		}
		if there > 1 {
			return fmt.Errorf("group %q is there twice", groupName)
		}
		if there == 0 {
			items = append(items, ours)
		}
		top[l.field] = items
		return nil
	})
}

func staleCBOR(doc []byte) ([]byte, error) { return throughCBOR(doc, markStale) }

func throughCBOR(doc []byte, change func(top map[string]any) error) ([]byte, error) {
	if !bytes.HasPrefix(doc, cborMagic) {
		return nil, errors.New("the document is not Kubernetes' CBOR")
	}
	var top map[string]any
	if err := direct.Unmarshal(doc[len(cborMagic):], &top); err != nil {
		return nil, err
	}
	if err := change(top); err != nil {
		return nil, err
	}
	out, err := direct.Marshal(top)
	return append(bytes.Clone(cborMagic), out...), err
}

// markStale marks every version of every group but the own one.
func markStale(top map[string]any) error {
	items, ok := top[aggregatedList.field].([]any)
	if !ok {
		return errors.New("the document has no list of groups")
	}
	for _, item := range items {
		if nameAt(item, aggregatedList.name...) == groupName {
			continue
		}
		group, ok := item.(map[string]any)
		if !ok {
			return errors.New("a group is not an object")
		}
		versions, ok := group["versions"].([]any)
		if !ok && group["versions"] != nil {
			return errors.New("the versions of a group are not a list")
		}
		for _, v := range versions {
			version, ok := v.(map[string]any)
			if !ok {
				return errors.New("a version is not an object")
			}
			version["freshness"] = stale
		}
	}
	return nil
}

// nameAt returns the string at a path of members, "" if there is none.
func nameAt(value any, path ...string) string {
	for _, name := range path {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	s, _ := value.(string)
	return s
}
