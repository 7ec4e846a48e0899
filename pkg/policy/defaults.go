package policy

import (
	"embed"

	"k8s.io/apimachinery/pkg/runtime"
)

//go:embed defaults/*.yaml
var defaultFiles embed.FS

// Defaults returns the policies of a new installation.
func Defaults() ([]runtime.Object, error) {
	entries, err := defaultFiles.ReadDir("defaults")
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for _, entry := range entries {
		name := "defaults/" + entry.Name()
		data, err := defaultFiles.ReadFile(name)
		if err != nil {
			return nil, err
		}
		parsed, err := Parse(name, data)
		if err != nil {
			return nil, err
		}
		objects = append(objects, parsed...)
	}
	return objects, nil
}
