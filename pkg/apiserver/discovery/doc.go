// Package discovery adds the gateway's own API group to what an apiserver says
// about its APIs: /apis, /openapi/v2 and /openapi/v3.
//
// Every request goes upstream as the client first, so that the apiserver decides
// who may see the document. Its answer is then spliced, not decoded and encoded
// again: what the gateway does not know is not lost. What cannot be spliced with
// certainty is passed on as it came, and logged.
//
// A merged document is built once for each upstream document. The request
// upstream carries If-None-Match for the copy at hand; "not modified" then means
// that the client is allowed and the copy is good. Towards the client the ETag
// has two parts, upstream's and the hash of the gateway's own, so that either may
// change.
//
// Garbage collection deletes what it takes for gone, so that no answer may lack
// a group. While no apiserver answers, the last good copy of an aggregated
// document is served with every other group marked Stale, which clients treat as
// a failure of that group. The other formats cannot say it; there, the request
// fails. In the same way the own group is Stale, not missing, while its own API
// server is not up. OpenAPI documents go without the own part then: nobody takes
// them for a list of what exists.
//
// Memory: 64 MiB of merged documents are kept for reuse. The last good aggregated
// documents are kept besides, and their stale copies once they were needed: one of
// each for every format and profile that clients have asked for, at most 16 (JSON
// and protobuf, as a rule), 20 KiB for a new cluster and 1 MiB for one of many
// CRDs. Up to eight answers are read and merged at a time. Each takes three to
// five times its size for that while, lists of groups in YAML and CBOR ten times.
// An answer above 64 MiB is not merged.
package discovery
