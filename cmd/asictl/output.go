package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// output is in which form a command prints.
type output struct {
	format    string
	noHeaders bool
	formats   []string
}

// bind adds the flags; the first format is the default.
func (o *output) bind(command *cobra.Command, formats ...string) {
	o.formats = formats
	command.Flags().StringVarP(&o.format, "output", "o", formats[0], "output: "+strings.Join(formats, ", "))
	command.Flags().BoolVar(&o.noHeaders, "no-headers", false, "leave the headers of tables out")
	completeFlag(command, "output", formats...)
}

func (o *output) check() error {
	if !slices.Contains(o.formats, o.format) {
		return usagef("--output %q is none of %s", o.format, strings.Join(o.formats, ", "))
	}
	return nil
}

// table tells that the output is one.
func (o *output) table() bool { return o.format == "table" || o.format == "wide" }

// table is printed with its columns aligned.
type table struct {
	headers []string
	rows    [][]string
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

func (t *table) print(w io.Writer, noHeaders bool) error {
	// kubectl's distances.
	aligned := tabwriter.NewWriter(w, 6, 4, 3, ' ', 0)
	if !noHeaders {
		fmt.Fprintln(aligned, strings.Join(t.headers, "\t"))
	}
	for _, row := range t.rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(aligned, strings.Join(cells, "\t"))
	}
	return aligned.Flush()
}

// encode prints any value as JSON or YAML.
func encode(w io.Writer, format string, value any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	// Paths have ampersands, and no browser reads this.
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "    ")
	if err := encoder.Encode(value); err != nil {
		return err
	}
	text := b.Bytes()
	if format == "yaml" {
		var err error
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	}
	_, err := w.Write(text)
	return err
}

// manifest is an object as kubectl apply takes it, whether it exists by then or
// not: without what identifies this very copy of it.
func manifest(kind string, object any) (map[string]any, error) {
	b, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.UseNumber()
	var m map[string]any
	if err := decoder.Decode(&m); err != nil {
		return nil, err
	}
	m["apiVersion"], m["kind"] = v1alpha1.SchemeGroupVersion.String(), kind
	if metadata, ok := m["metadata"].(map[string]any); ok {
		for _, key := range []string{"managedFields", "resourceVersion", "uid"} {
			delete(metadata, key)
		}
	}
	return m, nil
}

// objects prints policies as JSON, YAML or names. One that was asked for by its
// name stands for itself, as with kubectl get.
func objects[T any](w io.Writer, format, kind, resource string, items []T, nameOf func(*T) string, single bool) error {
	var all []any
	for i := range items {
		if format == "name" {
			fmt.Fprintln(w, ref(resource, nameOf(&items[i])))
			continue
		}
		m, err := manifest(kind, &items[i])
		if err != nil {
			return err
		}
		all = append(all, m)
	}
	switch {
	case format == "name":
		return nil
	case single && len(all) == 1:
		return encode(w, format, all[0])
	default:
		return encode(w, format, map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{}, "items": append([]any{}, all...)})
	}
}
