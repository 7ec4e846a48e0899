#!/bin/sh
# Writes the generated files of pkg/apis: copies and OpenAPI of its types.
set -eu
cd "$(dirname "$0")/.."
types=pkg/apis/gateway/v1alpha1
apimachinery="k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/api/resource k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version"
generate() { go tool -modfile=hack/tools/go.mod "$@"; }

generate deepcopy-gen --go-header-file /dev/null --output-file zz_generated.deepcopy.go "./$types"
# shellcheck disable=SC2086,SC2046 # lists of packages
generate openapi-gen --go-header-file /dev/null --output-dir $types --output-pkg "$(go list -m)/$types" \
    --output-file zz_generated.openapi.go --output-model-name-file zz_generated.model_name.go --report-filename /dev/null \
    $(printf -- '--readonly-pkg %s ' $apimachinery) "./$types" $apimachinery
