package discovery

import (
	"bytes"
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// envelopeMagic begins what Kubernetes encodes as protobuf; a runtime.Unknown
// follows, with the object in its field raw.
const envelopeMagic = "k8s\x00"

// Numbers of fields, from the generated.proto files of Kubernetes and gnostic's
// OpenAPIv2.proto. Versions v2 and v2beta1 of aggregated discovery are equal.
const (
	unknownTypeMeta, unknownRaw, unknownContentEncoding = 1, 2, 3
	typeMetaKind                                        = 2
	aggregatedItems, listGroups                         = 2, 1
	groupMetadata, metadataName, groupVersions          = 1, 1, 2
	apiGroupName                                        = 1
	versionFreshness                                    = 3
	documentSwagger, documentPaths, documentDefinitions = 1, 8, 9
	pathsPath, definitionsProperty, namedName           = 2, 1, 1
)

// rewrite returns message with the values of one field changed by change, which
// sees them in order; a nil answer removes the field. It tells how many there
// were.
func rewrite(message []byte, number protowire.Number, change func(value []byte) ([]byte, error)) ([]byte, int, error) {
	out := make([]byte, 0, len(message)+1024)
	count := 0
	for len(message) > 0 {
		n, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return nil, 0, protowire.ParseError(tag)
		}
		size := protowire.ConsumeFieldValue(n, kind, message[tag:])
		if size < 0 {
			return nil, 0, protowire.ParseError(size)
		}
		if n != number {
			out = append(out, message[:tag+size]...)
			message = message[tag+size:]
			continue
		}
		if kind != protowire.BytesType {
			return nil, 0, fmt.Errorf("field %d is of wire type %d", n, kind)
		}
		count++
		value, _ := protowire.ConsumeBytes(message[tag:])
		changed, err := change(value)
		if err != nil {
			return nil, 0, err
		}
		if changed != nil {
			out = appendField(out, number, changed)
		}
		message = message[tag+size:]
	}
	return out, count, nil
}

func appendField(message []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), value)
}

// find returns the value of a field that is there once or not at all.
func find(message []byte, path ...protowire.Number) ([]byte, error) {
	for _, number := range path {
		var found []byte
		rest := message
		for seen := false; len(rest) > 0; {
			n, kind, tag := protowire.ConsumeTag(rest)
			if tag < 0 {
				return nil, protowire.ParseError(tag)
			}
			size := protowire.ConsumeFieldValue(n, kind, rest[tag:])
			if size < 0 {
				return nil, protowire.ParseError(size)
			}
			if n == number {
				if seen || kind != protowire.BytesType {
					return nil, fmt.Errorf("field %d is there twice, or of wire type %d", n, kind)
				}
				seen = true
				found, _ = protowire.ConsumeBytes(rest[tag:])
			}
			rest = rest[tag+size:]
		}
		message = found
	}
	return message, nil
}

// openEnvelope changes the object of the kind given in a protobuf envelope.
func openEnvelope(doc []byte, kind string, change func(raw []byte) ([]byte, error)) ([]byte, error) {
	message, ok := bytes.CutPrefix(doc, []byte(envelopeMagic))
	if !ok {
		return nil, errors.New("the document is not Kubernetes' protobuf")
	}
	if k, err := find(message, unknownTypeMeta, typeMetaKind); err != nil || string(k) != kind {
		return nil, errors.Join(err, fmt.Errorf("the document is of kind %q, not %q", k, kind))
	}
	if encoding, err := find(message, unknownContentEncoding); err != nil || len(encoding) > 0 {
		return nil, errors.Join(err, fmt.Errorf("the document has content encoding %q", encoding))
	}
	out, count, err := rewrite(message, unknownRaw, change)
	if err != nil || count != 1 {
		return nil, errors.Join(err, fmt.Errorf("the document has %d objects", count))
	}
	return append([]byte(envelopeMagic), out...), nil
}

// mergeProtoList is mergeJSONList for protobuf.
func mergeProtoList(doc []byte, l list, group []byte) ([]byte, error) {
	return openEnvelope(doc, l.kind, func(raw []byte) ([]byte, error) {
		there := 0
		out, _, err := rewrite(raw, l.number, func(item []byte) ([]byte, error) {
			name, err := find(item, l.nameNumbers...)
			if err != nil || string(name) != groupName {
				return present(item), err
			}
			there++
			return group, nil
		})
		switch {
		case err != nil:
			return nil, err
		case there > 1:
			return nil, fmt.Errorf("group %q is there twice", groupName)
		case there == 0:
			out = appendField(out, l.number, group)
		}
		return out, nil
	})
}

// staleProto marks every version of every group but the own one.
func staleProto(doc []byte) ([]byte, error) {
	return openEnvelope(doc, aggregatedList.kind, func(raw []byte) ([]byte, error) {
		out, _, err := rewrite(raw, aggregatedItems, func(item []byte) ([]byte, error) {
			name, err := find(item, aggregatedList.nameNumbers...)
			if err != nil || string(name) == groupName {
				return present(item), err
			}
			out, _, err := rewrite(item, groupVersions, func(version []byte) ([]byte, error) {
				out, _, err := rewrite(version, versionFreshness, func([]byte) ([]byte, error) { return nil, nil })
				return appendField(out, versionFreshness, []byte(stale)), err
			})
			return out, err
		})
		return out, err
	})
}

// mergeProtoSwagger is mergeJSONSwagger for protobuf.
func mergeProtoSwagger(doc []byte, p *part) ([]byte, error) {
	if version, err := find(doc, documentSwagger); err != nil || string(version) != "2.0" {
		return nil, errors.Join(err, fmt.Errorf("the document is of OpenAPI version %q, not 2.0", version))
	}
	out, paths, err := rewrite(doc, documentPaths, func(value []byte) ([]byte, error) {
		return mergeProtoMap(value, pathsPath, p.proto.paths, always)
	})
	if err != nil {
		return nil, fmt.Errorf("paths: %w", err)
	}
	out, definitions, err := rewrite(out, documentDefinitions, func(value []byte) ([]byte, error) {
		return mergeProtoMap(value, definitionsProperty, p.proto.definitions, isOwnDefinition)
	})
	if err != nil {
		return nil, fmt.Errorf("definitions: %w", err)
	}
	if paths != 1 || definitions != 1 {
		return nil, fmt.Errorf("the document has paths %d times, definitions %d times", paths, definitions)
	}
	return out, nil
}

// mergeProtoMap is mergeJSONMap for protobuf, where a map is a repeated field of
// names and values.
func mergeProtoMap(message []byte, number protowire.Number, ours map[string]entry, replace func(name string) bool) ([]byte, error) {
	seen := map[string]bool{}
	out, _, err := rewrite(message, number, func(named []byte) ([]byte, error) {
		name, err := find(named, namedName)
		if err != nil {
			return nil, err
		}
		e, ok := ours[string(name)]
		if !ok {
			return present(named), nil
		}
		seen[string(name)] = true
		if replace(string(name)) {
			return e.value, nil
		}
		return present(named), nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range sortedNames(ours) {
		if !seen[name] {
			out = appendField(out, number, ours[name].value)
		}
	}
	return out, nil
}

// protoMap reads what mergeProtoMap writes.
func protoMap(message []byte, number protowire.Number) (map[string]entry, error) {
	all := map[string]entry{}
	_, _, err := rewrite(message, number, func(named []byte) ([]byte, error) {
		name, err := find(named, namedName)
		if err == nil {
			all[string(name)] = entry{value: present(named)}
		}
		return nil, err
	})
	return all, err
}

// present keeps an empty value from being taken for a removed one.
func present(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
