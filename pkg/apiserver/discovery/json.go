package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// span is a value's place in a document.
type span struct{ from, to int }

func (s span) of(doc []byte) []byte { return doc[s.from:s.to] }

// edit puts text in the place of what is at span.
type edit struct {
	span
	text []byte
}

// apply returns doc with the edits, which are in the order of their places.
func apply(doc []byte, edits []edit) []byte {
	size := len(doc)
	for _, e := range edits {
		size += len(e.text) - (e.to - e.from)
	}
	out := make([]byte, 0, size)
	at := 0
	for _, e := range edits {
		out = append(append(out, doc[at:e.from]...), e.text...)
		at = e.to
	}
	return append(out, doc[at:]...)
}

// The functions below walk through JSON that json.Valid has accepted. They copy
// nothing: a document of 3 MB is walked through in a few milliseconds.

// skipString returns the end of the string that begins at doc[at].
func skipString(doc []byte, at int) int {
	for at++; doc[at] != '"'; at++ {
		if doc[at] == '\\' {
			at++
		}
	}
	return at + 1
}

// skipValue returns the end of the value that begins at doc[at].
func skipValue(doc []byte, at int) int {
	switch doc[at] {
	case '"':
		return skipString(doc, at)
	case '{', '[':
		for depth := 0; ; at++ {
			switch doc[at] {
			case '"':
				at = skipString(doc, at) - 1
			case '{', '[':
				depth++
			case '}', ']':
				if depth--; depth == 0 {
					return at + 1
				}
			}
		}
	default:
		for at < len(doc) && !bytes.ContainsRune([]byte(",]} \t\r\n"), rune(doc[at])) {
			at++
		}
		return at
	}
}

func skipSpace(doc []byte, at int) int {
	for at < len(doc) && (doc[at] == ' ' || doc[at] == '\t' || doc[at] == '\r' || doc[at] == '\n') {
		at++
	}
	return at
}

// members yields names and values of the object at s, or nothing if it is none.
func members(doc []byte, s span) iter.Seq2[string, span] {
	return func(yield func(string, span) bool) {
		if doc[s.from] != '{' {
			return
		}
		at := skipSpace(doc, s.from+1)
		for doc[at] != '}' {
			end := skipString(doc, at)
			name := unquote(doc[at:end])
			at = skipSpace(doc, skipSpace(doc, end)+1) // over the colon
			value := span{at, skipValue(doc, at)}
			if !yield(name, value) {
				return
			}
			if at = skipSpace(doc, value.to); doc[at] == ',' {
				at = skipSpace(doc, at+1)
			}
		}
	}
}

// elements yields the values of the array at s, or nothing if it is none.
func elements(doc []byte, s span) iter.Seq[span] {
	return func(yield func(span) bool) {
		if doc[s.from] != '[' {
			return
		}
		at := skipSpace(doc, s.from+1)
		for doc[at] != ']' {
			value := span{at, skipValue(doc, at)}
			if !yield(value) {
				return
			}
			if at = skipSpace(doc, value.to); doc[at] == ',' {
				at = skipSpace(doc, at+1)
			}
		}
	}
}

// unquote decodes a JSON string; anything else is "".
func unquote(quoted []byte) string {
	if !bytes.ContainsRune(quoted, '\\') && quoted[0] == '"' {
		return string(quoted[1 : len(quoted)-1])
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return ""
	}
	return s
}

// member finds a member of the object at s. A name that is there twice is an
// error: readers differ in which they take.
func member(doc []byte, s span, name string) (found span, ok bool, err error) {
	for n, value := range members(doc, s) {
		if n != name {
			continue
		}
		if ok {
			return span{}, false, fmt.Errorf("member %q is there twice", name)
		}
		found, ok = value, true
	}
	return found, ok, nil
}

// text returns the string at a path of members, "" if there is none.
func text(doc []byte, s span, path ...string) (string, error) {
	for _, name := range path {
		value, ok, err := member(doc, s, name)
		if err != nil || !ok {
			return "", err
		}
		s = value
	}
	return unquote(s.of(doc)), nil
}

// root is the place of the one value of a document.
func root(doc []byte) (span, error) {
	if !json.Valid(doc) {
		return span{}, errors.New("the document is not JSON")
	}
	from := skipSpace(doc, 0)
	s := span{from, skipValue(doc, from)}
	if doc[from] != '{' {
		return span{}, errors.New("the document is not an object")
	}
	return s, nil
}

// mergeJSONList puts group into the list of groups that doc is: in the place of
// the one of that name, or behind all others.
func mergeJSONList(doc []byte, l list, group []byte) ([]byte, error) {
	top, err := root(doc)
	if err != nil {
		return nil, err
	}
	if kind, err := text(doc, top, "kind"); err != nil || kind != l.kind {
		return nil, errors.Join(err, fmt.Errorf("the document is of kind %q, not %q", kind, l.kind))
	}
	items, ok, err := member(doc, top, l.field)
	if err != nil || !ok {
		return nil, errors.Join(err, fmt.Errorf("the document has no %q", l.field))
	}
	var e edit
	switch doc[items.from] {
	case 'n': // An empty list in Go is null in JSON.
		e = edit{items, concat("[", group, "]")}
	case '[':
		end := items.to - 1
		e = edit{span{end, end}, concat("", group, "")}
		for item := range elements(doc, items) {
			if e.from == end && e.text[0] != ',' {
				e.text = concat(",", group, "")
			}
			name, err := text(doc, item, l.name...)
			if err != nil {
				return nil, err
			}
			if name != groupName {
				continue
			}
			if e.from != end {
				return nil, fmt.Errorf("group %q is there twice", name)
			}
			e = edit{item, group}
		}
	default:
		return nil, fmt.Errorf("%q is not a list", l.field)
	}
	return indentAs(doc, apply(doc, []edit{e})), nil
}

// mergeJSONMap returns the edits that put ours into the object at s. What is
// there already is replaced if replace says so, and stays otherwise.
func mergeJSONMap(doc []byte, s span, ours map[string]entry, replace func(name string) bool) ([]edit, error) {
	if doc[s.from] != '{' {
		return nil, errors.New("not an object")
	}
	var edits []edit
	seen := map[string]bool{}
	empty := true
	for name, value := range members(doc, s) {
		empty = false
		e, ok := ours[name]
		if !ok {
			continue
		}
		seen[name] = true
		if replace(name) {
			edits = append(edits, edit{value, e.value})
		}
	}
	var added []byte
	for _, name := range sortedNames(ours) {
		if seen[name] {
			continue
		}
		if !empty || len(added) > 0 {
			added = append(added, ',')
		}
		added = append(append(append(added, ours[name].key...), ':'), ours[name].value...)
	}
	end := s.to - 1
	return append(edits, edit{span{end, end}, added}), nil
}

// mergeJSONPaths merges the list of OpenAPI v3 documents.
func mergeJSONPaths(doc []byte, p *part) ([]byte, error) {
	top, err := root(doc)
	if err != nil {
		return nil, err
	}
	paths, ok, err := member(doc, top, "paths")
	if err != nil || !ok {
		return nil, errors.Join(err, errors.New("the document has no paths"))
	}
	edits, err := mergeJSONMap(doc, paths, p.json.paths, always)
	if err != nil {
		return nil, fmt.Errorf("paths: %w", err)
	}
	return apply(doc, edits), nil
}

// mergeJSONSwagger merges OpenAPI v2.
func mergeJSONSwagger(doc []byte, p *part) ([]byte, error) {
	top, err := root(doc)
	if err != nil {
		return nil, err
	}
	if version, err := text(doc, top, "swagger"); err != nil || version != "2.0" {
		return nil, errors.Join(err, fmt.Errorf("the document is of OpenAPI version %q, not 2.0", version))
	}
	paths, havePaths, err := member(doc, top, "paths")
	if err != nil {
		return nil, err
	}
	definitions, haveDefinitions, err := member(doc, top, "definitions")
	if err != nil {
		return nil, err
	}
	if !havePaths || !haveDefinitions {
		return nil, errors.New("the document has no paths or no definitions")
	}
	first, err := mergeJSONMap(doc, paths, p.json.paths, always)
	if err != nil {
		return nil, fmt.Errorf("paths: %w", err)
	}
	second, err := mergeJSONMap(doc, definitions, p.json.definitions, isOwnDefinition)
	if err != nil {
		return nil, fmt.Errorf("definitions: %w", err)
	}
	if definitions.from < paths.from {
		first, second = second, first
	}
	return apply(doc, append(first, second...)), nil
}

// indentAs indents merged if doc is: people read it, as kube-apiserver believes.
func indentAs(doc, merged []byte) []byte {
	if len(doc) < 2 || doc[1] != '\n' {
		return merged
	}
	var out bytes.Buffer
	if json.Indent(&out, merged, "", "  ") != nil {
		return merged
	}
	return out.Bytes()
}

func concat(before string, b []byte, after string) []byte {
	return append(append([]byte(before), b...), after...)
}
