package validation

import (
	"crypto/x509"
	"net"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/net/http/httpguts"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// maxServers bounds what is looked at when a request's server is chosen.
	maxServers = 64
	maxWeight  = 1000
	// maxRamp is more than anybody waits for a server to warm up.
	maxRamp = time.Hour
)

var (
	sheddingModes = sets.New(v1alpha1.SheddingAuto, v1alpha1.SheddingNever)
	hedgingModes  = sets.New(v1alpha1.HedgingAfterP99, v1alpha1.HedgingNever)
)

// ValidateUpstreamGroup checks an UpstreamGroup with its defaults set.
func ValidateUpstreamGroup(o *v1alpha1.UpstreamGroup) field.ErrorList {
	errs := validateMeta(&o.ObjectMeta)
	spec := field.NewPath("spec")
	errs = append(errs, validateServers(o.Spec.Servers, spec.Child("servers"))...)
	if o.Spec.QPS != nil {
		errs = append(errs, validateRate(*o.Spec.QPS, spec.Child("qps"))...)
	}
	if o.Spec.Burst != nil && o.Spec.QPS == nil {
		errs = append(errs, field.Forbidden(spec.Child("burst"), "means nothing without qps"))
	}
	errs = append(errs, atLeastOne(o.Spec.Burst, spec.Child("burst"), "to refuse all but P0 set qps to 0")...)
	errs = append(errs, atLeastOne(o.Spec.MaxInFlight, spec.Child("maxInFlight"), "to refuse all but P0 set qps to 0")...)
	errs = append(errs, oneOf(sheddingModes)(o.Spec.Shedding, spec.Child("shedding"))...)
	errs = append(errs, oneOf(hedgingModes)(o.Spec.Hedging, spec.Child("hedging"))...)
	errs = append(errs, validateRamp(o.Spec.SlowStart, spec.Child("slowStart"))...)
	errs = append(errs, validateRamp(o.Spec.Failback, spec.Child("failback"))...)
	if tls := o.Spec.TLS; tls != nil {
		path := spec.Child("tls")
		if len(tls.CABundle) > 0 && !x509.NewCertPool().AppendCertsFromPEM(tls.CABundle) {
			errs = append(errs, field.Invalid(path.Child("caBundle"), "", "has no PEM certificate"))
		}
		if len(tls.CABundle) == 0 && tls.ServerName == "" {
			errs = append(errs, field.Required(path, "says nothing; leave it out to verify the servers as the gateway's kubeconfig says"))
		}
	}
	return errs
}

func validateServers(servers []v1alpha1.UpstreamServer, path *field.Path) field.ErrorList {
	switch n := len(servers); {
	case n == 0:
		return field.ErrorList{field.Required(path, "a group without servers serves nobody; to take one out of service set its weight to 0")}
	case n > maxServers:
		return field.ErrorList{field.TooMany(path, n, maxServers)}
	}
	var errs field.ErrorList
	seen := sets.New[string]()
	for i, server := range servers {
		at := path.Index(i)
		if seen.Has(server.URL) {
			errs = append(errs, field.Duplicate(at.Child("url"), server.URL))
		}
		seen.Insert(server.URL)
		if !isServerURL(server.URL) {
			errs = append(errs, field.Invalid(at.Child("url"), server.URL, "want https://HOST:PORT"))
		}
		if w := server.Weight; w != nil && (*w < 0 || *w > maxWeight) {
			errs = append(errs, field.Invalid(at.Child("weight"), *w, "must be from 0 to "+strconv.Itoa(maxWeight)))
		}
	}
	return errs
}

func isServerURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return false
	}
	if u.Port() == "" {
		return true
	}
	port, err := net.LookupPort("tcp", u.Port())
	return err == nil && port > 0
}

func validateRamp(d *metav1.Duration, path *field.Path) field.ErrorList {
	if d != nil && (d.Duration < 0 || d.Duration > maxRamp) {
		return field.ErrorList{field.Invalid(path, d.Duration.String(), "must be from 0s to "+maxRamp.String())}
	}
	return nil
}

// ValidateRoute checks a Route with its defaults set.
func ValidateRoute(o *v1alpha1.Route) field.ErrorList {
	errs := validateMeta(&o.ObjectMeta)
	spec := field.NewPath("spec")
	errs = append(errs, ValidateMatch(&o.Spec.Match, spec.Child("match"))...)
	errs = append(errs, ValidateMatch(&o.Spec.Except, spec.Child("except"))...)
	if header := o.Spec.Header; header != nil {
		path := spec.Child("header")
		if !httpguts.ValidHeaderFieldName(header.Name) {
			errs = append(errs, field.Invalid(path.Child("name"), header.Name, "is no name of a header"))
		}
		errs = append(errs, each(header.Values, path.Child("values"), func(value string, at *field.Path) field.ErrorList {
			if !httpguts.ValidHeaderFieldValue(value) {
				return field.ErrorList{field.Invalid(at, value, "is no value of a header")}
			}
			return nil
		})...)
	}
	if share := o.Spec.Share; share != nil && (*share < 1 || *share > 100) {
		errs = append(errs, field.Invalid(spec.Child("share"), *share, "must be from 1 to 100 percent; to route nobody delete the Route"))
	}
	groups := spec.Child("groups")
	if len(o.Spec.Groups) == 0 {
		errs = append(errs, field.Required(groups, "name at least one UpstreamGroup"))
	}
	errs = append(errs, each(o.Spec.Groups, groups, groupName)...)
	errs = append(errs, each(o.Spec.Spill, spec.Child("spill"), groupName)...)
	named := sets.New(o.Spec.Groups...)
	for i, group := range o.Spec.Spill {
		if named.Has(group) {
			errs = append(errs, field.Invalid(spec.Child("spill").Index(i), group, "is among groups already"))
		}
	}
	return errs
}

// groupName wants a name that an UpstreamGroup can have. It need not be there: a
// Route may be made before its groups.
func groupName(name string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, fault := range apivalidation.NameIsDNSSubdomain(name, false) {
		errs = append(errs, field.Invalid(path, name, fault))
	}
	return errs
}
