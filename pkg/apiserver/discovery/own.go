package discovery

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/clock"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// ownTimeout bounds a question to our own API server. It answers from memory,
	// but builds its OpenAPI documents when first asked.
	ownTimeout = 5 * time.Second
	// ownRetry is how long a failure counts before the question is asked again.
	ownRetry = time.Second
)

// part is what the gateway adds to the documents of one path. It does not change.
type part struct {
	// tag is a hash of it all, and one part of the ETag.
	tag string

	aggregated, legacy encodings // for /apis
	json, proto        openAPI   // for OpenAPI
}

// encodings are those of one API group.
type encodings struct{ json, proto []byte }

// openAPI is what its documents consist of.
type openAPI struct{ paths, definitions map[string]entry }

// entry is a member of a JSON object; in protobuf, where the name is part of the
// value, key is nil.
type entry struct{ key, value []byte }

// own asks our own API server, once: what it serves does not change while the
// process lives.
type own struct {
	handler http.Handler
	clock   clock.PassiveClock

	mu       sync.Mutex
	parts    map[string]*part
	failures map[string]failure
	// absent stands for the group in /apis while our own API server is not up.
	absent *part
}

// failure is why there is no part, and since when.
type failure struct {
	error
	at time.Time
}

func newOwn(handler http.Handler, clock clock.PassiveClock) (*own, error) {
	absent, err := absentGroup()
	return &own{handler: handler, clock: clock, parts: map[string]*part{}, failures: map[string]failure{}, absent: absent}, err
}

// part returns what to add on a path, nil if there is nothing to add yet. The
// error tells why that is less than all.
func (o *own) part(path string) (*part, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.parts[path]; p != nil {
		return p, nil
	}
	var substitute *part
	if path == pathAPIs {
		substitute = o.absent
	}
	if last, ok := o.failures[path]; ok && o.clock.Since(last.at) < ownRetry {
		return substitute, last
	}
	p, err := o.ask(path)
	if err != nil {
		last := failure{fmt.Errorf("asking the gateway's own API server for %s: %w", path, err), o.clock.Now()}
		o.failures[path] = last
		return substitute, last
	}
	o.parts[path] = p
	return p, nil
}

func (o *own) ask(path string) (*part, error) {
	switch path {
	case pathAPIs:
		return o.group()
	case pathOpenAPIv2:
		return o.swagger()
	default:
		return o.paths()
	}
}

func (o *own) group() (*part, error) {
	aggregated, err := o.get(pathAPIs, mediaJSON+";g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	if err != nil {
		return nil, err
	}
	var discovered apidiscoveryv2.APIGroupDiscoveryList
	if err := json.Unmarshal(aggregated, &discovered); err != nil {
		return nil, err
	}
	legacy, err := o.get(pathAPIs, mediaJSON)
	if err != nil {
		return nil, err
	}
	var groups metav1.APIGroupList
	if err := json.Unmarshal(legacy, &groups); err != nil {
		return nil, err
	}
	for i := range discovered.Items {
		for j := range groups.Groups {
			if discovered.Items[i].Name == groupName && groups.Groups[j].Name == groupName {
				return groupPart(&discovered.Items[i], &groups.Groups[j])
			}
		}
	}
	return nil, fmt.Errorf("there is no group %q, or in one format only", groupName)
}

// absentGroup says of the group what kube-aggregator says of one whose server it
// cannot reach.
func absentGroup() (*part, error) {
	version := v1alpha1.SchemeGroupVersion
	legacy := metav1.GroupVersionForDiscovery{GroupVersion: version.String(), Version: version.Version}
	return groupPart(&apidiscoveryv2.APIGroupDiscovery{
		ObjectMeta: metav1.ObjectMeta{Name: groupName},
		Versions:   []apidiscoveryv2.APIVersionDiscovery{{Version: version.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale}},
	}, &metav1.APIGroup{
		Name:             groupName,
		Versions:         []metav1.GroupVersionForDiscovery{legacy},
		PreferredVersion: legacy,
	})
}

func groupPart(aggregated *apidiscoveryv2.APIGroupDiscovery, legacy *metav1.APIGroup) (*part, error) {
	// Clients reach the group where they reach all others.
	legacy.ServerAddressByClientCIDRs = nil
	p := &part{}
	var errs [4]error
	p.aggregated.json, errs[0] = json.Marshal(aggregated)
	p.aggregated.proto, errs[1] = aggregated.Marshal()
	p.legacy.json, errs[2] = json.Marshal(legacy)
	p.legacy.proto, errs[3] = legacy.Marshal()
	p.tag = tagOf(p.aggregated.json, p.legacy.json)
	return p, errors.Join(errs[:]...)
}

func (o *own) swagger() (*part, error) {
	doc, err := o.get(pathOpenAPIv2, mediaJSON)
	if err != nil {
		return nil, err
	}
	proto, err := o.get(pathOpenAPIv2, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	if err != nil {
		return nil, err
	}
	top, err := root(doc)
	if err != nil {
		return nil, err
	}
	p := &part{tag: tagOf(doc, proto)}
	if p.json.paths, err = jsonMap(doc, top, "paths"); err != nil {
		return nil, err
	}
	if p.json.definitions, err = jsonMap(doc, top, "definitions"); err != nil {
		return nil, err
	}
	paths, err := find(proto, documentPaths)
	if err != nil {
		return nil, err
	}
	definitions, err := find(proto, documentDefinitions)
	if err != nil {
		return nil, err
	}
	if p.proto.paths, err = protoMap(paths, pathsPath); err != nil {
		return nil, err
	}
	if p.proto.definitions, err = protoMap(definitions, definitionsProperty); err != nil {
		return nil, err
	}
	// What every API server has besides, upstream speaks for: /apis, /version.
	keepOwn(p.json.paths, pathAPIs+"/"+groupName+"/")
	keepOwn(p.proto.paths, pathAPIs+"/"+groupName+"/")
	if len(p.json.paths) == 0 || len(p.json.paths) != len(p.proto.paths) {
		return nil, fmt.Errorf("%d paths in JSON, %d in protobuf", len(p.json.paths), len(p.proto.paths))
	}
	return p, nil
}

func (o *own) paths() (*part, error) {
	doc, err := o.get(pathOpenAPIv3, mediaJSON)
	if err != nil {
		return nil, err
	}
	top, err := root(doc)
	if err != nil {
		return nil, err
	}
	p := &part{}
	if p.json.paths, err = jsonMap(doc, top, "paths"); err != nil {
		return nil, err
	}
	keepOwn(p.json.paths, "apis/"+groupName+"/")
	if len(p.json.paths) == 0 {
		return nil, errors.New("there is no path of ours")
	}
	var all [][]byte
	for _, name := range sortedNames(p.json.paths) {
		all = append(all, p.json.paths[name].key, p.json.paths[name].value)
	}
	p.tag = tagOf(all...)
	return p, nil
}

// get asks our own API server in this process, as one of its masters.
func (o *own) get(path, accept string) ([]byte, error) {
	// Not the client's context: its end must not count as a failure here.
	ctx, cancel := context.WithTimeout(context.Background(), ownTimeout)
	defer cancel()
	ctx = apirequest.WithUser(ctx, &user.DefaultInfo{
		Name: "system:asi-gateway", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated},
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	r.RequestURI = path
	r.RemoteAddr = "127.0.0.1:0"
	r.Header.Set("Accept", accept)
	w := &recorder{header: http.Header{}, status: http.StatusOK}
	o.handler.ServeHTTP(w, r)
	if w.status != http.StatusOK {
		return nil, fmt.Errorf("status %d: %.200s", w.status, w.body.Bytes())
	}
	return w.body.Bytes(), nil
}

// recorder is an http.ResponseWriter in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	wrote  bool
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.wrote, w.status = true, status
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// Flush does nothing; k8s.io/apiserver wants it there.
func (w *recorder) Flush() {}

// jsonMap copies the members of an object within another.
func jsonMap(doc []byte, s span, name string) (map[string]entry, error) {
	object, ok, err := member(doc, s, name)
	if err != nil || !ok {
		return nil, errors.Join(err, fmt.Errorf("there is no %q", name))
	}
	all := map[string]entry{}
	for n, value := range members(doc, object) {
		key, err := json.Marshal(n)
		if err != nil {
			return nil, err
		}
		all[n] = entry{key: key, value: bytes.Clone(value.of(doc))}
	}
	return all, nil
}

func keepOwn(m map[string]entry, prefix string) {
	for name := range m {
		if !strings.HasPrefix(name, prefix) {
			delete(m, name)
		}
	}
}

// tagOf hashes for an ETag: 64 bits, since nobody gains by a collision of his own
// making.
func tagOf(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
