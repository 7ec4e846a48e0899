package differential

// seedObjects are created in this order, in a cluster without controllers.
var seedObjects = []struct{ path, yaml string }{
	{"/api/v1/namespaces", `metadata: {name: diff-shared, labels: {side: all}}`},
	{"/api/v1/namespaces", `metadata: {name: diff-big, labels: {side: all}}`},
	{"/api/v1/namespaces", `metadata: {name: diff-noise}`},
	{"/apis/coordination.k8s.io/v1/namespaces/diff-noise/leases", `metadata: {name: noise}`},
	{"/api/v1/nodes", `metadata: {name: diff-node, labels: {side: all}}`},
	{"/api/v1/namespaces/diff-shared/serviceaccounts", `metadata: {name: default}`},
	{"/api/v1/namespaces/diff-shared/serviceaccounts", `metadata: {name: robot}`},
	{"/api/v1/namespaces/diff-shared/configmaps", `{metadata: {name: one, labels: {app: web, tier: front}, annotations: {note: "<a> & 'b' \u2028 ünïcödé"}}, data: {key: value}, binaryData: {raw: AAEC}}`},
	{"/api/v1/namespaces/diff-shared/configmaps", `{metadata: {name: two, labels: {app: web, tier: back}}, data: {}}`},
	{"/api/v1/namespaces/diff-shared/configmaps", `{metadata: {name: three, labels: {app: db}}, immutable: true}`},
	{"/api/v1/namespaces/diff-shared/configmaps", `{metadata: {name: four, finalizers: [diff.example.com/keep]}}`},
	{"/api/v1/namespaces/diff-shared/secrets", `{metadata: {name: password}, type: Opaque, stringData: {password: hunter2}}`},
	{"/api/v1/namespaces/diff-shared/services", `{metadata: {name: web}, spec: {selector: {app: web}, ports: [{name: http, port: 80}, {name: https, port: 443}]}}`},
	{"/api/v1/namespaces/diff-shared/endpoints", `{metadata: {name: web}}`},
	{"/api/v1/namespaces/diff-shared/events", `{metadata: {name: happened}, involvedObject: {kind: Pod, name: pending, namespace: diff-shared}, reason: Tested, message: it happened, type: Normal}`},
	{"/api/v1/namespaces/diff-shared/pods", `{metadata: {name: pending, labels: {app: web}}, spec: {automountServiceAccountToken: false, containers: [{name: main, image: "image:1", ports: [{containerPort: 80}]}]}}`},
	{"/api/v1/namespaces/diff-shared/pods", `{metadata: {name: on-node, labels: {app: db}}, spec: {nodeName: diff-node, serviceAccountName: robot, containers: [{name: main, image: "image:1"}, {name: side, image: "image:2"}]}}`},
	{"/apis/apps/v1/namespaces/diff-shared/deployments", `{metadata: {name: web}, spec: {replicas: 2, selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}}, spec: {containers: [{name: main, image: "image:1"}]}}}}`},
	{"/apis/coordination.k8s.io/v1/namespaces/diff-shared/leases", `{metadata: {name: held}, spec: {holderIdentity: somebody, leaseDurationSeconds: 15}}`},
	{"/apis/policy/v1/namespaces/diff-shared/poddisruptionbudgets", `{metadata: {name: web}, spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}}`},

	{rbac + "/clusterroles", `{metadata: {name: diff-view}, rules: [{apiGroups: ["", apps, diff.example.com], resources: ["*"], verbs: [get, list, watch]}]}`},
	{rbac + "/namespaces/diff-shared/rolebindings", `{metadata: {name: readers}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: diff-view}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: readers}, {kind: ServiceAccount, name: robot, namespace: diff-shared}]}`},
	{rbac + "/clusterroles", `{metadata: {name: diff-impersonator}, rules: [
		{apiGroups: [""], resources: [users], verbs: [impersonate], resourceNames: [alice]},
		{apiGroups: [""], resources: [groups], verbs: [impersonate], resourceNames: [readers]},
		{apiGroups: [""], resources: [serviceaccounts], verbs: [impersonate], resourceNames: [robot]},
		{apiGroups: [authentication.k8s.io], resources: [uids], verbs: [impersonate], resourceNames: [uid-of-alice]},
		{apiGroups: [authentication.k8s.io], resources: [userextras/scopes], verbs: [impersonate], resourceNames: [view]}]}`},
	{rbac + "/clusterrolebindings", `{metadata: {name: diff-impersonator}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: diff-impersonator}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: impersonator}]}`},
	{rbac + "/clusterroles", `{metadata: {name: diff-constrained}, rules: [
		{apiGroups: [authentication.k8s.io], resources: [users], verbs: ["impersonate:user-info"], resourceNames: [alice]},
		{apiGroups: [authentication.k8s.io], resources: [groups], verbs: ["impersonate:user-info"], resourceNames: [readers]},
		{apiGroups: [authentication.k8s.io], resources: [serviceaccounts], verbs: ["impersonate:serviceaccount"], resourceNames: [robot]},
		{apiGroups: [""], resources: [configmaps], verbs: ["impersonate-on:user-info:list", "impersonate-on:serviceaccount:get"]},
		{apiGroups: [authentication.k8s.io], resources: [selfsubjectreviews], verbs: ["impersonate-on:user-info:create"]}]}`},
	{rbac + "/clusterrolebindings", `{metadata: {name: diff-constrained}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: diff-constrained}, subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: constrained}, {apiGroup: rbac.authorization.k8s.io, kind: User, name: constrained-account}]}`},

	{"/apis/apiextensions.k8s.io/v1/customresourcedefinitions", widgetCRD},
	{"/apis/apiregistration.k8s.io/v1/apiservices", `{metadata: {name: v1.unavailable.example.com}, spec: {group: unavailable.example.com, version: v1, groupPriorityMinimum: 100, versionPriority: 10, insecureSkipTLSVerify: true, service: {namespace: diff-shared, name: nowhere, port: 443}}}`},
}

const rbac = "/apis/rbac.authorization.k8s.io/v1"

const widgetCRD = `
metadata: {name: widgets.diff.example.com}
spec:
  group: diff.example.com
  scope: Namespaced
  names: {kind: Widget, listKind: WidgetList, plural: widgets, singular: widget, shortNames: [wd], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    selectableFields: [{jsonPath: .spec.color}, {jsonPath: .spec.size}, {jsonPath: .spec.lit}, {jsonPath: .spec.place.city}, {jsonPath: .status.phase}]
    additionalPrinterColumns:
    - {name: Color, type: string, jsonPath: .spec.color}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas, priority: 1}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [color]
            x-kubernetes-validations: [{rule: "self.color != 'forbidden'", message: that color is forbidden}]
            properties:
              color: {type: string, maxLength: 12}
              replicas: {type: integer, default: 1, minimum: 0}
              size: {type: integer}
              lit: {type: boolean}
              place: {type: object, properties: {city: {type: string}}}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items: {type: object, required: [name], properties: {name: {type: string}, size: {type: integer}}}
          status:
            type: object
            properties: {replicas: {type: integer}, selector: {type: string}, phase: {type: string}}
  - name: v1beta1
    served: true
    storage: false
    deprecated: true
    deprecationWarning: "diff.example.com/v1beta1 is old; use v1"
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

var seedWidgets = []string{
	`{apiVersion: diff.example.com/v1, kind: Widget, metadata: {name: red, labels: {app: web}}, spec: {color: red, size: 7, lit: true, place: {city: Rome}, parts: [{name: lid, size: 3}]}}`,
	`{apiVersion: diff.example.com/v1, kind: Widget, metadata: {name: green}, spec: {color: green, replicas: 2, size: -12345678901, lit: false, place: {}}}`,
	`{apiVersion: diff.example.com/v1, kind: Widget, metadata: {name: blue}, spec: {color: blue, replicas: 3}}`,
}
