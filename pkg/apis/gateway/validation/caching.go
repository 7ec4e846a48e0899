package validation

import (
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

const (
	// maxIndexes bounds what is done for every change of an object.
	maxIndexes = 16
	// minHistory is less than watches of a quiet resource need to come back, maxHistory
	// is what a million small changes cost: hundreds of megabytes.
	minHistory = 16
	maxHistory = 1 << 20
	// maxCompressAbove is about the largest object that etcd takes, in bytes.
	maxCompressAbove = 2 << 20
)

var cachedVerbs = sets.New(v1alpha1.CachedGet, v1alpha1.CachedList, v1alpha1.CachedWatch)

// ValidateCachedResource checks a CachedResource with its defaults set.
func ValidateCachedResource(o *v1alpha1.CachedResource) field.ErrorList {
	errs := validateMeta(&o.ObjectMeta)
	spec := field.NewPath("spec")
	if o.Spec.Group != "" {
		errs = append(errs, apiGroup(o.Spec.Group, spec.Child("group"))...)
	}
	if o.Spec.Group == "*" {
		errs = append(errs, field.Invalid(spec.Child("group"), o.Spec.Group, "each resource has an object of its own"))
	}
	errs = append(errs, invalid(spec.Child("version"), o.Spec.Version, utilvalidation.IsDNS1035Label(o.Spec.Version))...)
	errs = append(errs, cachedResource(&o.Spec, spec.Child("resource"))...)
	errs = append(errs, each(o.Spec.Verbs, spec.Child("verbs"), oneOf(cachedVerbs))...)
	errs = append(errs, indexes(o.Spec.LabelIndexes, spec.Child("labelIndexes"), metav1validation.ValidateLabelName)...)
	errs = append(errs, indexes(o.Spec.FieldIndexes, spec.Child("fieldIndexes"), fieldPath)...)
	if above := o.Spec.CompressAbove; above != nil {
		errs = append(errs, compressAbove(above, spec.Child("compressAbove"))...)
	}
	if n := o.Spec.History; n != nil && (*n < minHistory || *n > maxHistory) {
		errs = append(errs, field.Invalid(spec.Child("history"), *n, "must be from "+strconv.Itoa(minHistory)+" to "+strconv.Itoa(maxHistory)+" changes"))
	}
	return errs
}

func cachedResource(spec *v1alpha1.CachedResourceSpec, path *field.Path) field.ErrorList {
	ofEvents := spec.Resource == "events" && (spec.Group == "" || spec.Group == "events.k8s.io")
	switch {
	case spec.Resource == "":
		return field.ErrorList{field.Required(path, `the plural name as in URLs, e.g. "pods"`)}
	case ofEvents, spec.Resource == "leases" && spec.Group == "coordination.k8s.io":
		return field.ErrorList{field.Forbidden(path, spec.Resource+" are never cached: they are written all the time, and read by few")}
	}
	return invalid(path, spec.Resource, utilvalidation.IsDNS1035Label(spec.Resource))
}

func indexes(names []string, path *field.Path, check func(string, *field.Path) field.ErrorList) field.ErrorList {
	if n := len(names); n > maxIndexes {
		return field.ErrorList{field.TooMany(path, n, maxIndexes)}
	}
	return each(names, path, check)
}

// fieldPath wants the name of a field as selectors have it. Those of the metadata
// need no index.
func fieldPath(name string, path *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, `a field as selectors name it, e.g. "spec.nodeName"`)}
	case name == "metadata.name" || name == "metadata.namespace":
		return field.ErrorList{field.Forbidden(path, "objects are always found by it")}
	case len(name) > maxName:
		return field.ErrorList{field.TooLong(path, "", maxName)}
	case !isFieldPath(name):
		return field.ErrorList{field.Invalid(path, name, `want a field as selectors name it, e.g. "spec.nodeName"`)}
	}
	return nil
}

// isFieldPath tells a name of letters, digits, dashes and underscores, divided by
// dots.
func isFieldPath(name string) bool {
	before := byte('.')
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '.' && before == '.':
			return false
		case c != '.' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z'):
			return false
		}
		before = c
	}
	return before != '.'
}

func compressAbove(q *resource.Quantity, path *field.Path) field.ErrorList {
	if q.Sign() < 0 || q.CmpInt64(maxCompressAbove) > 0 || q.MilliValue()%1000 != 0 {
		return field.ErrorList{field.Invalid(path, q.String(), "must be from 0 to 2Mi, in whole bytes")}
	}
	return nil
}
