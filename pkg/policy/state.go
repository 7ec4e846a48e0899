package policy

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// state is all policies: what is compiled, and what a gateway starts with while
// its store is away. A file of an older gateway lacks kinds.
type state struct {
	Classes  []*v1alpha1.ClientClass    `json:"classes"`
	Limits   []*v1alpha1.RateLimit      `json:"limits"`
	Switches []*v1alpha1.Switch         `json:"switches"`
	Groups   []*v1alpha1.UpstreamGroup  `json:"upstreamGroups,omitempty"`
	Routes   []*v1alpha1.Route          `json:"routes,omitempty"`
	Cached   []*v1alpha1.CachedResource `json:"cachedResources,omitempty"`
}

func (s *state) empty() bool {
	return len(s.Classes)+len(s.Limits)+len(s.Switches)+len(s.Groups)+len(s.Routes)+len(s.Cached) == 0
}

// loadState returns nil if there is none.
func loadState(file string) (*state, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &state{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, err
	}
	return s, nil
}

func saveState(file string, s *state) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return replaceFile(file, data)
}

// replaceFile writes a file that is whole at any moment, even if the machine
// stops.
func replaceFile(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}
