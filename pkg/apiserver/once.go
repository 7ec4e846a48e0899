package apiserver

import (
	"context"
	"path"
)

// Once calls do unless it, or another gateway on the same store, has done so with
// success under that name. Two gateways that start together may both call it.
func (s *Server) Once(ctx context.Context, name string, do func(context.Context) error) error {
	api := s.current.Load()
	if api == nil {
		return errNotStarted
	}
	key := path.Join(api.store.prefix, "done", name)
	found, err := api.store.client.Client.Get(ctx, key)
	if err != nil || found.Count > 0 {
		return err
	}
	if err := do(ctx); err != nil {
		return err
	}
	_, err = api.store.client.Client.Put(ctx, key, "done")
	return err
}
