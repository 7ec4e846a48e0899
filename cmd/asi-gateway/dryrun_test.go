package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func TestDryRunNamesTheRightsThatAreMissing(t *testing.T) {
	for _, tc := range []struct {
		name     string
		options  options
		verbs    []string // what the credential may do
		missing  []string
		unneeded []string
	}{
		{"all", options{}, []string{"create", "impersonate", "get", "list", "watch"}, nil, nil},
		{"no impersonation", options{}, []string{"create", "get", "list", "watch"}, []string{"impersonate users", "impersonate uids.authentication.k8s.io"}, nil},
		{"front proxy", options{proxyClientCert: "x"}, []string{"create", "get", "list", "watch"}, nil, []string{"impersonate"}},
		{"no reviews", options{}, []string{"impersonate", "get", "list", "watch"},
			[]string{"create tokenreviews.authentication.k8s.io", "create subjectaccessreviews.authorization.k8s.io"}, []string{"impersonate"}},
		{"no client CA", options{}, []string{"create", "impersonate", "get"}, []string{"list configmaps kube-system/extension-apiserver-authentication"}, nil},
		{"client CA in a file", options{clientCAFile: "x"}, []string{"create", "impersonate"}, nil, []string{"configmaps"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			kube := fake.NewClientset()
			kube.PrependReactor("create", "selfsubjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
				review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SelfSubjectAccessReview).DeepCopy()
				review.Status.Allowed = slices.Contains(tc.verbs, review.Spec.ResourceAttributes.Verb)
				return true, review, nil
			})
			c := &cluster{kube: kube}
			var out bytes.Buffer
			err := c.dryRunRights(t.Context(), needed(&tc.options), &out)
			if (err != nil) != (len(tc.missing) > 0) {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, right := range tc.missing {
				if !strings.Contains(err.Error(), right) || !strings.Contains(err.Error(), "deploy/rbac.yaml") || !strings.Contains(out.String(), right) {
					t.Errorf("nothing said of %q: %v\n%s", right, err, out.String())
				}
			}
			for _, right := range tc.unneeded {
				if strings.Contains(out.String(), right) {
					t.Errorf("%q is not needed, or not missing:\n%s", right, out.String())
				}
			}
		})
	}
}

func TestDryRunTellsThatRightsCannotBeAskedFor(t *testing.T) {
	kube := fake.NewClientset()
	kube.PrependReactor("create", "selfsubjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("no way")
	})
	c := &cluster{kube: kube}
	if err := c.dryRunRights(t.Context(), needed(&options{}), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "no way") {
		t.Error(err)
	}
}
