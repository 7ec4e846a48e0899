package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

var marked = regexp.MustCompile(`# <- (\S+)`)

// TestInvalidPoliciesAreRefusedWithTheirPath reads documents that are wrong in
// one marked place each.
func TestInvalidPoliciesAreRefusedWithTheirPath(t *testing.T) {
	const file = "testdata/invalid.yaml"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := Parse(file, data)
	if err == nil || len(objects) > 0 {
		t.Fatalf("%d of the documents were taken for valid, error %v", len(objects), err)
	}
	faults := map[string]bool{}
	for fault := range strings.SplitSeq(err.Error(), "\n") {
		faults[fault] = true
	}
	marks := 0
	for i, line := range strings.Split(string(data), "\n") {
		mark := marked.FindStringSubmatch(line)
		if mark == nil {
			continue
		}
		marks++
		found := false
		for fault := range faults {
			if strings.HasPrefix(fault, fmt.Sprintf("%s:%d: ", file, i+1)) && strings.Contains(fault, mark[1]) {
				delete(faults, fault)
				found = true
			}
		}
		if !found {
			t.Errorf("%s:%d: nothing said about %s", file, i+1, mark[1])
		}
	}
	for fault := range faults {
		t.Errorf("unexpected: %s", fault)
	}
	if marks < 170 {
		t.Errorf("only %d invalid objects", marks)
	}
}

// TestARateOfNothingMustBeMeant has the limits without a rate, and with a rate of 0,
// that say for certain what they are.
func TestARateOfNothingMustBeMeant(t *testing.T) {
	for _, spec := range []string{
		"{maxInFlight: 5}",
		"{maxInFlight: 5, match: {clients: {userAgents: [a]}}}",
		"{qps: 0, match: {clients: {userAgents: [a]}}}",
		`{qps: 0, match: {requests: [{verbs: ["*"]}]}}`,
		"{qps: 0, qpsPerNode: 1, match: {clients: {userAgents: [a]}}}",
	} {
		objects, err := Parse("good", []byte("apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: a}\nspec: "+spec))
		if err != nil || len(objects) != 1 {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		if limit := objects[0].(*v1alpha1.RateLimit); (limit.Spec.QPS == nil) == strings.Contains(spec, "qps: 0") {
			t.Errorf("%s: qps %v", spec, limit.Spec.QPS)
		}
	}
}

// TestWhatCanNeverMatchIsRefusedWithWhatToWrite has the ways of kubectl and of other
// fields in fields that do not know them.
func TestWhatCanNeverMatchIsRefusedWithWhatToWrite(t *testing.T) {
	for match, want := range map[string]string{
		"{requests: [{resources: [deployments.apps]}]}":               "apiGroups: [apps], resources: [deployments]",
		"{requests: [{resources: [deployments.apps/scale]}]}":         "apiGroups: [apps], resources: [deployments/scale]",
		"{requests: [{resources: [certificates.cert-manager.io/*]}]}": "apiGroups: [cert-manager.io], resources: [certificates/*]",
		`{clients: {users: ["system:serviceaccount:a:*"]}}`:           "serviceAccounts: [NAMESPACE/*]",
		`{clients: {groups: ["*"]}}`:                                  "system:authenticated",
	} {
		_, err := Parse("bad", []byte("apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: a}\nspec: {qps: 1, match: "+match+"}"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", match, err, want)
		}
	}
}

func TestBrokenFileIsNamedWithItsLine(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("good.yaml", "---\n# nothing\n---\napiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata: {name: a}\nspec: {qps: \"0.5\", mode: Off}\n---\n")
	write("bad.yaml", "apiVersion: gateway.asi.io/v1alpha1\nkind: RateLimit\nmetadata:\n  name: a\n bad indent: 1\n")
	write("notes.txt", "not: [a policy")
	objects, err := ReadDir(dir)
	if err == nil || !strings.Contains(err.Error(), "bad.yaml:") || strings.Contains(err.Error(), "good.yaml") {
		t.Fatalf("error %v", err)
	}
	if !regexp.MustCompile(`bad\.yaml:[45]: `).MatchString(err.Error()) {
		t.Errorf("error without the line: %v", err)
	}
	if len(objects) != 1 || objects[0].(*v1alpha1.RateLimit).Spec.Mode != v1alpha1.ModeOff {
		t.Errorf("objects of the good file: %v", objects)
	}
}

func TestDefaultsAreValidAndHaveDistinctNames(t *testing.T) {
	objects, err := Defaults()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, object := range objects {
		accessor, err := meta.Accessor(object)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%T %s", object, accessor.GetName())
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
	}
	if len(seen) < 25 {
		t.Errorf("%d defaults", len(seen))
	}
}

func FuzzParseManifest(f *testing.F) {
	data, err := os.ReadFile("testdata/invalid.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for document := range strings.SplitSeq(string(data), "---\n") {
		f.Add(document)
	}
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := Parse("fuzz", []byte(text))
		for _, object := range objects {
			if faults := Validate(object); len(faults) > 0 {
				t.Fatalf("an invalid object was accepted (error %v): %v", err, faults)
			}
		}
	})
}
