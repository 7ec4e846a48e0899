package differential

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// seed creates what cases start from, and the variables that tell of it.
func seed(ctx context.Context, b *bench) error {
	admin := seeder{ctx, b}
	if err := admin.objects(); err != nil {
		return err
	}
	if err := admin.served(); err != nil {
		return err
	}
	shared := variables{}
	if err := admin.tokens(shared); err != nil {
		return err
	}
	if err := admin.revisions(shared); err != nil {
		return err
	}
	for _, s := range b.sides() {
		for name, value := range shared {
			s.variables[name] = value
		}
		for _, st := range []step{
			whoAmI(imp + "alice").by("impersonator"),
			whoAmI(imp+"alice", "Impersonate-Group: readers").by("constrained"),
			get(one, imp+"system:serviceaccount:$SHARED:robot").by("constrained-account"),
		} {
			answers, err := s.play(ctx, c("seed", st))
			if err != nil {
				return err
			}
			if answers[0].status >= 300 {
				return fmt.Errorf("seed: %s may not impersonate: %s", st.as, answers[0].summary())
			}
		}
	}
	return nil
}

type seeder struct {
	ctx context.Context
	*bench
}

// do sends one request straight to the kube-apiserver.
func (s seeder) do(st step) (answer, error) {
	answers, err := s.direct.play(s.ctx, c("seed", st))
	if err != nil {
		return answer{}, err
	}
	if a := answers[0]; a.failed || a.status >= 300 {
		return a, fmt.Errorf("seed: %s %s: %s", st.method, st.path, a.summary())
	}
	return answers[0], nil
}

func (s seeder) objects() error {
	for _, o := range seedObjects {
		if _, err := s.do(post(o.path, o.yaml, "Content-Type: application/yaml")); err != nil {
			return err
		}
	}
	for _, side := range s.sides() {
		namespace := side.variables["NS"]
		if _, err := s.do(post("/api/v1/namespaces", `{"metadata":{"name":"`+namespace+`","labels":{"side":"own"}}}`)); err != nil {
			return err
		}
		if _, err := s.do(post("/api/v1/namespaces/"+namespace+"/serviceaccounts", `{"metadata":{"name":"default"}}`)); err != nil {
			return err
		}
		if _, err := s.do(post("/apis/rbac.authorization.k8s.io/v1/namespaces/"+namespace+"/rolebindings", `{"metadata":{"name":"readers"},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"},
			"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"Group","name":"readers"}]}`)); err != nil {
			return err
		}
	}
	// Above 128 KiB answers are compressed.
	for i := range 3 {
		body := fmt.Sprintf(`{"metadata":{"name":"big-%d","labels":{"size":"big"}},"data":{"text":%q}}`, i, strings.Repeat("all work and no play ", 5000))
		if _, err := s.do(post("/api/v1/namespaces/diff-big/configmaps", body)); err != nil {
			return err
		}
	}
	return nil
}

// served waits until custom resources and aggregated groups are in discovery
// and OpenAPI, which then stay as they are.
func (s seeder) served() error {
	widgets := "/apis/diff.example.com/v1/namespaces/diff-shared/widgets"
	if err := s.until(get(widgets), "WidgetList"); err != nil {
		return err
	}
	for _, o := range seedWidgets {
		if _, err := s.do(post(widgets, o, "Content-Type: application/yaml")); err != nil {
			return err
		}
	}
	aggregated := "Accept: application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	for _, wait := range []struct {
		step step
		text string
	}{
		{get("/apis/apiregistration.k8s.io/v1/apiservices/v1.unavailable.example.com"), `"status":"False"`},
		{get("/apis", aggregated), `"diff.example.com"`},
		{get("/apis", aggregated), `"unavailable.example.com"`},
		{get("/apis"), `"diff.example.com"`},
		{get("/openapi/v2"), "com.example.diff.v1.Widget"},
		{get("/openapi/v3"), "apis/diff.example.com/v1"},
	} {
		if err := s.until(wait.step, wait.text); err != nil {
			return err
		}
	}
	return nil
}

// until sends a request until the answer holds a text.
func (s seeder) until(st step, text string) error {
	var last error
	err := wait.PollUntilContextTimeout(s.ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		var a answer
		a, last = s.do(st)
		return last == nil && bytes.Contains(a.body, []byte(text)), nil
	})
	if err != nil {
		return fmt.Errorf("seed: %s never held %q: %w, %w", st.path, text, err, last)
	}
	return nil
}

// tokens issues service account tokens of all kinds.
func (s seeder) tokens(v variables) error {
	for name, spec := range map[string]string{
		"TOKEN":    `{"expirationSeconds":3600}`,
		"PODTOKEN": `{"expirationSeconds":3600,"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"on-node"}}`,
		"AUDTOKEN": `{"expirationSeconds":3600,"audiences":["another-service"]}`,
	} {
		a, err := s.do(post("/api/v1/namespaces/diff-shared/serviceaccounts/robot/token", `{"spec":`+spec+`}`))
		if err != nil {
			return err
		}
		if v[name], err = a.value("/status/token"); err != nil {
			return err
		}
	}
	if err := s.goneToken(v); err != nil {
		return err
	}
	// Signed by the server's key, as a token of an hour ago would be.
	expired, err := s.expiredToken(v["TOKEN"])
	if err != nil {
		return err
	}
	v["EXPIREDTOKEN"] = expired
	// The signature of another token does not fit.
	head, _, _ := cutLast(v["TOKEN"], ".")
	_, signature, _ := cutLast(v["AUDTOKEN"], ".")
	v["FORGEDTOKEN"] = head + "." + signature
	return nil
}

func cutLast(s, sep string) (string, string, bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// revisions names points in etcd's history: compacted, kept, and the seed's last.
func (s seeder) revisions(v variables) error {
	// From before the kube-apiserver began to cache custom resources: a cache knows
	// revisions that etcd has forgotten. Events are not cached at all.
	v["COMPACTED"] = "2"
	v["COMPACTEDTOKEN"] = base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":2,"start":"aaa\u0000"}`))
	// The last write is to the resource that cases ask for revisions of.
	for i := range 3 {
		body := fmt.Sprintf(`{"metadata":{"name":"late-%d"}}`, i)
		last, err := s.do(post("/api/v1/namespaces/diff-shared/configmaps", body))
		if err != nil {
			return err
		}
		if v["SEED"], err = last.value("/metadata/resourceVersion"); err != nil {
			return err
		}
		if i == 0 {
			v["EARLIER"] = v["SEED"]
		}
	}
	one, err := s.do(get("/api/v1/namespaces/diff-shared/configmaps/one"))
	if err != nil {
		return err
	}
	if v["ONEUID"], err = one.value("/metadata/uid"); err != nil {
		return err
	}
	if v["ONERV"], err = one.value("/metadata/resourceVersion"); err != nil {
		return err
	}
	return s.compact(v["EARLIER"])
}

// compact has etcd forget what came before a revision.
func (s seeder) compact(revision string) error {
	body, err := json.Marshal(map[string]any{"revision": revision, "physical": true})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(s.ctx, http.MethodPost, s.cluster.EtcdURL()+"/v3/kv/compaction", bytes.NewReader(body))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("seed: compaction: %s: %s, %w", response.Status, text, err)
	}
	return nil
}

// goneToken is bound to a pod that was deleted before anybody used the token.
func (s seeder) goneToken(v variables) error {
	pods := "/api/v1/namespaces/diff-shared/pods"
	if _, err := s.do(post(pods, `{"metadata":{"name":"short-lived"},"spec":{"serviceAccountName":"robot","containers":[{"name":"main","image":"image:1"}]}}`)); err != nil {
		return err
	}
	a, err := s.do(post("/api/v1/namespaces/diff-shared/serviceaccounts/robot/token", `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"short-lived"}}}`))
	if err != nil {
		return err
	}
	if v["GONETOKEN"], err = a.value("/status/token"); err != nil {
		return err
	}
	_, err = s.do(del(pods + "/short-lived?gracePeriodSeconds=0"))
	return err
}

// expiredToken signs the claims of a token again, as of two hours ago.
func (s seeder) expiredToken(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", fmt.Errorf("seed: a token of %d parts", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "", err
	}
	var claims map[string]any
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", err
	}
	past := time.Now().Add(-2 * time.Hour).Unix()
	claims["iat"], claims["nbf"], claims["exp"] = past, past, past+3600
	if payload, err = json.Marshal(claims); err != nil {
		return "", err
	}
	keyPEM, err := os.ReadFile(filepath.Join(filepath.Dir(s.cluster.CAFile()), "sa.key"))
	if err != nil {
		return "", err
	}
	return signToken(keyPEM, parts[0]+"."+base64.RawURLEncoding.EncodeToString(payload))
}
