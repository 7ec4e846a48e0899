package cluster

import (
	"context"
	"fmt"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// kwokPrecedence puts kwok's flow schema before those of ordinary users.
const kwokPrecedence = 1000

// bootstrap creates what kwok needs to play nodes. Objects of an
// earlier start stay as they are.
func (c *Cluster) bootstrap(ctx context.Context) error {
	client, err := c.adminClient()
	if err != nil {
		return err
	}
	options := metav1.CreateOptions{}
	_, roleErr := client.RbacV1().ClusterRoles().Create(ctx, kwokRole(), options)
	_, bindingErr := client.RbacV1().ClusterRoleBindings().Create(ctx, kwokBinding(), options)
	_, flowErr := client.FlowcontrolV1().FlowSchemas().Create(ctx, kwokFlowSchema(), options)
	for _, err := range []error{roleErr, bindingErr, flowErr} {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create the access rules of kwok: %w", err)
		}
	}
	return nil
}

// adminClient talks, as the administrator, to the first apiserver that runs: whatever
// a test has broken meanwhile.
func (c *Cluster) adminClient() (*kubernetes.Clientset, error) {
	server := c.mainTarget().Server
	for _, name := range c.apiServerNames() {
		if process := c.Process(name); process.Running() && !process.Paused() {
			server = process.URL()
			break
		}
	}
	client, err := kubernetes.NewForConfig(c.RESTConfig(server))
	if err != nil {
		return nil, fmt.Errorf("make a client for %s: %w", server, err)
	}
	return client, nil
}

// kwokRole allows what all kubelets together may do, and no more.
func kwokRole() *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: kwokUser},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list", "watch"}},
			{APIGroups: []string{""}, Resources: []string{"nodes/status", "pods/status"}, Verbs: []string{"patch", "update"}},
			{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list", "watch", "patch", "update", "delete"}},
			{APIGroups: []string{"", "events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch", "update"}},
			{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "list", "watch", "create", "patch", "update"}},
		},
	}
}

func kwokBinding() *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: kwokUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: kwokUser},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: kwokUser}},
	}
}

// kwokFlowSchema exempts kwok from the apiserver's own queues: it is thousands of
// kubelets in one client, and would be treated as one greedy user.
func kwokFlowSchema() *flowcontrolv1.FlowSchema {
	all := []string{"*"}
	return &flowcontrolv1.FlowSchema{
		ObjectMeta: metav1.ObjectMeta{Name: "asi-kwok"},
		Spec: flowcontrolv1.FlowSchemaSpec{
			PriorityLevelConfiguration: flowcontrolv1.PriorityLevelConfigurationReference{Name: flowcontrolv1.PriorityLevelConfigurationNameExempt},
			MatchingPrecedence:         kwokPrecedence,
			Rules: []flowcontrolv1.PolicyRulesWithSubjects{{
				Subjects: []flowcontrolv1.Subject{{
					Kind: flowcontrolv1.SubjectKindUser,
					User: &flowcontrolv1.UserSubject{Name: kwokUser},
				}},
				ResourceRules:    []flowcontrolv1.ResourcePolicyRule{{Verbs: all, APIGroups: all, Resources: all, Namespaces: all, ClusterScope: true}},
				NonResourceRules: []flowcontrolv1.NonResourcePolicyRule{{Verbs: all, NonResourceURLs: all}},
			}},
		},
	}
}
