package apiserver

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Peers is where gateways on the same store leave notes for each other: a note
// is under its writer's name, and goes when that has not renewed it in time.
type Peers struct {
	server *Server
	lease  clientv3.LeaseID
	// of is the store that the lease is on.
	of *store
}

// Peers returns a place for notes.
func (s *Server) Peers() *Peers { return &Peers{server: s} }

var errNotStarted = errors.New("the policy store has not started")

func (p *Peers) open() (*store, string, error) {
	api := p.server.current.Load()
	if api == nil {
		return nil, "", errNotStarted
	}
	return api.store, path.Join(api.store.prefix, "peers") + "/", nil
}

// Write leaves a note, in place of the one before, for as long as the time to
// live, which is in seconds and the same with each call. It must not be called
// concurrently.
func (p *Peers) Write(ctx context.Context, name string, note []byte, ttl time.Duration) error {
	store, prefix, err := p.open()
	if err != nil {
		return err
	}
	client := store.client.Client
	if p.of == store {
		if _, err := client.KeepAliveOnce(ctx, p.lease); err != nil {
			p.of = nil
		}
	}
	if p.of != store {
		granted, err := client.Grant(ctx, int64(ttl/time.Second))
		if err != nil {
			return err
		}
		p.lease, p.of = granted.ID, store
	}
	_, err = client.Put(ctx, prefix+name, string(note), clientv3.WithLease(p.lease))
	return err
}

// Read returns all notes, by name.
func (p *Peers) Read(ctx context.Context) (map[string][]byte, error) {
	store, prefix, err := p.open()
	if err != nil {
		return nil, err
	}
	found, err := store.client.Client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	notes := make(map[string][]byte, len(found.Kvs))
	for _, kv := range found.Kvs {
		notes[strings.TrimPrefix(string(kv.Key), prefix)] = kv.Value
	}
	return notes, nil
}
