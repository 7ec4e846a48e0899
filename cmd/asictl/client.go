package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// The resources of the gateway's API.
const (
	rateLimits          = "ratelimits"
	clientClasses       = "clientclasses"
	switches            = "switches"
	upstreamGroups      = "upstreamgroups"
	routes              = "routes"
	cachedResources     = "cachedresources"
	flowsResource       = "flows"
	limitSimulations    = "limitsimulations"
	requestExplanations = "requestexplanations"
)

// singular is how one object is called, as kubectl does it.
var singular = map[string]string{
	rateLimits: "ratelimit", clientClasses: "clientclass", switches: "switch", upstreamGroups: "upstreamgroup", routes: "route", cachedResources: "cachedresource",
}

func ref(resource, name string) string {
	return singular[resource] + "." + v1alpha1.GroupName + "/" + name
}

// defaultTimeout bounds every request. kubectl waits for ever, which is no help
// when one of several gateways is dead.
const defaultTimeout = "15s"

// connection says which gateway to speak to, and as whom: kubectl's flags and
// rules.
type connection struct {
	loading   clientcmd.ClientConfigLoadingRules
	overrides clientcmd.ConfigOverrides
}

func (c *connection) bind(root *cobra.Command) {
	c.loading = *clientcmd.NewDefaultClientConfigLoadingRules()
	flags := root.PersistentFlags()
	flags.StringVar(&c.loading.ExplicitPath, clientcmd.RecommendedConfigPathFlag, "", "path to the kubeconfig; default $KUBECONFIG or ~/.kube/config")
	flags.StringVar(&c.overrides.CurrentContext, clientcmd.FlagContext, "", "context of the kubeconfig")
	flags.StringVar(&c.overrides.Context.Cluster, clientcmd.FlagClusterName, "", "cluster of the kubeconfig")
	flags.StringVar(&c.overrides.Context.AuthInfo, clientcmd.FlagAuthInfoName, "", "user of the kubeconfig")
	flags.StringVarP(&c.overrides.ClusterInfo.Server, clientcmd.FlagAPIServer, "s", "", "URL of a gateway, e.g. of one replica")
	flags.StringVar(&c.overrides.ClusterInfo.TLSServerName, clientcmd.FlagTLSServerName, "", "name that the gateway's certificate has, if not the server's")
	flags.StringVar(&c.overrides.ClusterInfo.CertificateAuthority, clientcmd.FlagCAFile, "", "file with the CA bundle for the gateway's certificate")
	flags.BoolVar(&c.overrides.ClusterInfo.InsecureSkipTLSVerify, clientcmd.FlagInsecure, false, "do not check the gateway's certificate")
	flags.StringVar(&c.overrides.AuthInfo.ClientCertificate, clientcmd.FlagCertFile, "", "file with a client certificate")
	flags.StringVar(&c.overrides.AuthInfo.ClientKey, clientcmd.FlagKeyFile, "", "file with the key of the client certificate")
	flags.StringVar(&c.overrides.AuthInfo.Token, clientcmd.FlagBearerToken, "", "bearer token")
	flags.StringVar(&c.overrides.AuthInfo.Impersonate, clientcmd.FlagImpersonate, "", "user to act as")
	flags.StringArrayVar(&c.overrides.AuthInfo.ImpersonateGroups, clientcmd.FlagImpersonateGroup, nil, "group to act as; can be repeated")
	flags.StringVar(&c.overrides.Timeout, clientcmd.FlagTimeout, defaultTimeout, "how long to wait for an answer; 0 is for ever")
	_ = root.RegisterFlagCompletionFunc(clientcmd.FlagContext, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		raw, err := c.clientConfig().RawConfig()
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return sortedKeys(raw.Contexts), cobra.ShellCompDirectiveNoFileComp
	})
}

func (c *connection) clientConfig() clientcmd.ClientConfig {
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(&c.loading, &c.overrides)
}

// whence tells where the address of the gateway comes from.
func (c *connection) whence() string {
	if c.overrides.ClusterInfo.Server != "" {
		return "--server"
	}
	name := c.overrides.CurrentContext
	if raw, err := c.clientConfig().RawConfig(); err == nil && name == "" {
		name = raw.CurrentContext
	}
	if name == "" {
		return "the kubeconfig"
	}
	return `context "` + name + `" of the kubeconfig`
}

// fault says what is wrong with the kubeconfig.
func (c *connection) fault(err error) error {
	if raw, rawErr := c.clientConfig().RawConfig(); rawErr == nil && c.overrides.CurrentContext != "" {
		if _, known := raw.Contexts[c.overrides.CurrentContext]; !known {
			return fmt.Errorf("the kubeconfig has no context %q; it has %s", c.overrides.CurrentContext, strings.Join(sortedKeys(raw.Contexts), ", "))
		}
	}
	return fmt.Errorf("kubeconfig: %w", err)
}

// client speaks to the gateway's API. It knows its paths, and asks for no
// discovery.
type client struct {
	rest   *rest.RESTClient
	server string
}

// connect makes a client. Nothing is sent yet.
func (c *cli) connect() (*client, error) {
	if _, err := clientcmd.ParseTimeout(c.connection.overrides.Timeout); err != nil {
		return nil, usagef("--request-timeout %q is no duration: want e.g. 10s, or seconds", c.connection.overrides.Timeout)
	}
	config, err := c.connection.clientConfig().ClientConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return nil, errors.New("no gateway is configured: give --kubeconfig FILE, set KUBECONFIG, or say --server URL")
	case err != nil:
		return nil, c.connection.fault(err)
	}
	scheme := newScheme()
	gv := v1alpha1.SchemeGroupVersion
	config.GroupVersion = &gv
	config.APIPath = "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	config.UserAgent = "asictl/" + version
	// The server knows better.
	config.QPS = -1
	config.Wrap(c.server.watch)
	config.WarningHandler = rest.NewWarningWriter(c.err, rest.WarningWriterOptions{Deduplicate: true})
	r, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, err
	}
	return &client{rest: r, server: config.Host}, nil
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	// Does not fail for types that are ours.
	_ = v1alpha1.AddToScheme(scheme)
	// For metav1.Status.
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme
}

func (c *client) list(ctx context.Context, resource string, into runtime.Object) error {
	return c.rest.Get().Resource(resource).Do(ctx).Into(into)
}

func (c *client) get(ctx context.Context, resource, name string, into runtime.Object) error {
	return c.rest.Get().Resource(resource).Name(name).Do(ctx).Into(into)
}

// live reads what the replicas of the gateway know of an object.
func (c *client) live(ctx context.Context, resource, name string, into runtime.Object) error {
	return c.rest.Get().Resource(resource).Name(name).SubResource("live").Do(ctx).Into(into)
}

// create sends object, and reads the answer into it.
func (c *client) create(ctx context.Context, resource string, object runtime.Object, dryRun bool) error {
	return c.write(c.rest.Post().Resource(resource), dryRun).Body(object).Do(ctx).Into(object)
}

// patch sends a merge patch.
func (c *client) patch(ctx context.Context, resource, name string, patch map[string]any, dryRun bool, into runtime.Object) error {
	body, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return c.write(c.rest.Patch(types.MergePatchType).Resource(resource).Name(name), dryRun).Body(body).Do(ctx).Into(into)
}

// delete deletes an object; with a UID no other one of the same name.
func (c *client) delete(ctx context.Context, resource, name string, uid types.UID, dryRun bool) error {
	options := &metav1.DeleteOptions{}
	if uid != "" {
		options.Preconditions = metav1.NewUIDPreconditions(string(uid))
	}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	return c.rest.Delete().Resource(resource).Name(name).Body(options).Do(ctx).Error()
}

func (c *client) write(r *rest.Request, dryRun bool) *rest.Request {
	r.Param("fieldManager", "asictl")
	if dryRun {
		r.Param("dryRun", metav1.DryRunAll)
	}
	return r
}

// dryRunSuffix is kubectl's.
func dryRunSuffix(dryRun bool) string {
	if dryRun {
		return " (server dry run)"
	}
	return ""
}

// names returns the names of all objects of a resource.
func (c *client) names(ctx context.Context, resource string) ([]string, error) {
	body, err := c.rest.Get().Resource(resource).Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var list metav1.PartialObjectMetadataList
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, err
	}
	var names []string
	for _, item := range list.Items {
		names = append(names, item.Name)
	}
	return names, nil
}
