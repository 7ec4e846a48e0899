package attack

import (
	"strings"
	"testing"
)

// detours are first lines of requests that lead to what mallory may not see, if
// the one who checks and the one who answers read them differently.
var detours = []string{
	"GET /api/v1/secrets HTTP/1.1",
	"GET /livez/../api/v1/secrets HTTP/1.1",
	"GET /livez/..%2fapi/v1/secrets HTTP/1.1",
	"GET /livez%2f..%2fapi/v1/secrets HTTP/1.1",
	"GET /livez/%2e%2e/api/v1/secrets HTTP/1.1",
	"GET /livez/%252e%252e/api/v1/secrets HTTP/1.1",
	"GET /livez;/../api/v1/secrets HTTP/1.1",
	"GET /livez/..;/api/v1/secrets HTTP/1.1",
	`GET /livez\..\api\v1\secrets HTTP/1.1`,
	"GET /livez%5c..%5capi/v1/secrets HTTP/1.1",
	"GET /livez#/../api/v1/secrets HTTP/1.1",
	"GET /livez?/../../api/v1/secrets HTTP/1.1",
	"GET /livez/ HTTP/1.1", "GET /livez? HTTP/1.1", "GET /livez/ping HTTP/1.1", "GET /livez?verbose HTTP/1.1", "GET /livez%00 HTTP/1.1", "GET /livez; HTTP/1.1", "GET /livez. HTTP/1.1", "GET /LiveZ HTTP/1.1", "GET //livez HTTP/1.1", "GET /./livez HTTP/1.1",
	"POST /livez HTTP/1.1", "DELETE /livez HTTP/1.1", "PUT /readyz HTTP/1.1",
	"GET /readyz?x HTTP/1.1", "GET //readyz HTTP/1.1", "GET /readyz?verbose HTTP/1.1", "GET /readyz/etcd HTTP/1.1", "GET /readyz/../api/v1/secrets HTTP/1.1", "GET /healthz/../api/v1/secrets HTTP/1.1",
	"GET /metrics HTTP/1.1", "GET /metrics/ HTTP/1.1", "GET //metrics HTTP/1.1", "GET /metrics?x HTTP/1.1", "GET /%6detrics HTTP/1.1", "GET /Metrics HTTP/1.1", "GET /metrics/slis HTTP/1.1", "GET /metrics/cadvisor HTTP/1.1", "POST /metrics HTTP/1.1", "GET /metrics%00 HTTP/1.1", "GET /x/../metrics HTTP/1.1",
	"GET /metrics/../api/v1/secrets HTTP/1.1", "GET /metrics/%2e%2e/api/v1/secrets HTTP/1.1",
	"GET /version/../api/v1/secrets HTTP/1.1", "GET /openapi/v2/../../api/v1/secrets HTTP/1.1",
	"GET //api/v1/secrets HTTP/1.1", "GET ///api//v1//secrets HTTP/1.1", "GET /api//v1/secrets HTTP/1.1", "GET /api/v1//secrets HTTP/1.1", "GET /api/v1/secrets/ HTTP/1.1", "GET /api/v1/secrets// HTTP/1.1",
	"GET /./api/v1/secrets HTTP/1.1", "GET /api/./v1/secrets HTTP/1.1", "GET /api/v1/secrets/. HTTP/1.1", "GET /x/../api/v1/secrets HTTP/1.1", "GET /../api/v1/secrets HTTP/1.1", "GET /..%2fapi/v1/secrets HTTP/1.1",
	"GET /%61pi/v1/secrets HTTP/1.1", "GET /api%2fv1%2fsecrets HTTP/1.1", "GET /%2fapi/v1/secrets HTTP/1.1", "GET %2fapi/v1/secrets HTTP/1.1", "GET /api/v1/%73ecrets HTTP/1.1", "GET /api/v1/secret%73 HTTP/1.1",
	"GET /api/v1/secrets%00 HTTP/1.1", "GET /api/v1/secrets%00.json HTTP/1.1", "GET /%00/api/v1/secrets HTTP/1.1", "GET /api/v1/secrets%0a HTTP/1.1", "GET /api/v1/secrets%0d%0aX-Remote-User:%20kubernetes-admin HTTP/1.1", "GET /api/v1/secrets%20HTTP/1.1 HTTP/1.1",
	`GET \api\v1\secrets HTTP/1.1`, `GET /api\v1\secrets HTTP/1.1`, `GET /api/v1\secrets HTTP/1.1`, "GET /api%5cv1%5csecrets HTTP/1.1",
	"GET /api/v1/secrets; HTTP/1.1", "GET /api/v1;/secrets HTTP/1.1", "GET /api;a=b/v1/secrets;c=d HTTP/1.1", "GET ;/api/v1/secrets HTTP/1.1", "GET /;/api/v1/secrets HTTP/1.1",
	"GET /API/v1/secrets HTTP/1.1", "GET /Api/V1/Secrets HTTP/1.1", "GET /api/V1/secrets HTTP/1.1", "GET /api/v1/SECRETS HTTP/1.1",
	"GET /apis/v1/secrets HTTP/1.1", "GET /apis//v1/secrets HTTP/1.1", "GET /api/core/v1/secrets HTTP/1.1", "GET /apis/../api/v1/secrets HTTP/1.1",
	"GET /api/v1/namespaces/attack/secrets/treasure HTTP/1.1", "GET /api/v1/namespaces/attack%2fsecrets/treasure HTTP/1.1", "GET /api/v1/namespaces/attack/secrets%2ftreasure HTTP/1.1", "GET /api/v1/namespaces/default/../attack/secrets/treasure HTTP/1.1", "GET /api/v1/namespaces/../secrets HTTP/1.1", "GET /api/v1/namespaces//secrets HTTP/1.1", "GET /api/v1/namespaces/%2e%2e/secrets HTTP/1.1", "GET /api/v1/namespaces/attack/configmaps/..%2fsecrets%2ftreasure HTTP/1.1", "GET /api/v1/namespaces/attack/secrets/treasure%2f..%2f HTTP/1.1", "GET /api/v1/namespaces/attack/secrets/%74reasure HTTP/1.1",
	"GET /api/v1/watch/secrets HTTP/1.1", "GET /api/v1/watch/namespaces/attack/secrets/treasure HTTP/1.1", "GET /api/v1/proxy/nodes/x/ HTTP/1.1", "GET /api/v1/nodes/x/proxy/..%2f..%2f..%2fsecrets HTTP/1.1", "GET /api/v1/nodes/x/proxy/../../../secrets HTTP/1.1", "GET /api/v1/namespaces/attack/services/https:x:443/proxy/ HTTP/1.1",
	"HEAD /api/v1/secrets HTTP/1.1", "OPTIONS /api/v1/secrets HTTP/1.1", "TRACE /api/v1/secrets HTTP/1.1", "get /api/v1/secrets HTTP/1.1", "GETS /api/v1/secrets HTTP/1.1", "PROPFIND /api/v1/secrets HTTP/1.1", "CONNECT /api/v1/secrets HTTP/1.1",
	"OPTIONS * HTTP/1.1", "GET * HTTP/1.1", "CONNECT evil.example:443 HTTP/1.1", "CONNECT 127.0.0.1:22 HTTP/1.1", "GET evil.example:443 HTTP/1.1",
	"GET https://evil.example/api/v1/secrets HTTP/1.1", "GET http://127.0.0.1:22/api/v1/secrets HTTP/1.1", "GET https://kubernetes-admin@evil.example/api/v1/secrets HTTP/1.1", "GET //evil.example/api/v1/secrets HTTP/1.1", "GET https:///api/v1/secrets HTTP/1.1", "GET ftp://evil.example/livez HTTP/1.1", "GET file:///etc/passwd HTTP/1.1", "GET https:api/v1/secrets HTTP/1.1",
	"GET  /api/v1/secrets HTTP/1.1", "GET /api/v1/secrets  HTTP/1.1", "GET\t/api/v1/secrets\tHTTP/1.1", " GET /api/v1/secrets HTTP/1.1", "GET /livez /api/v1/secrets HTTP/1.1", "GET /api/v1/secrets", "GET /api/v1/secrets HTTP/1.2", "GET /api/v1/secrets HTTP/9.9", "GET /api/v1/secrets HTTP/0.9", "GET /api/v1/secrets http/1.1", "GET /api/v1/secrets HTTP/1.1 ", "GET /api/v1/secrets HTTP/01.1", "\r\n\r\nGET /api/v1/secrets HTTP/1.1",
	"GET /debug/pprof/ HTTP/1.1", "GET /debug/pprof/cmdline HTTP/1.1", "GET /debug/../api/v1/secrets HTTP/1.1", "GET /logs/ HTTP/1.1", "GET /configz HTTP/1.1",
}

// hosts are what the Host header may hold; a gateway that picks a server by it
// can be led elsewhere.
var hosts = [][]string{
	{"Host: x"}, {"Host: 127.0.0.1"}, {"Host: 127.0.0.1:22"}, {"Host: [::1]:443"}, {"Host: 169.254.169.254"}, {"Host: evil.example"}, {"Host: EVIL.example:0"},
	{"Host: kubernetes-admin@evil.example"}, {"Host: evil.example/../"}, {"Host: a b"}, {"Host:"}, {"Host: \x01"}, {"Host: größe"}, {"Host: a,b"},
	{"Host: a", "Host: b"}, {"Host: a", "host: a"}, {}, {"Host : a"}, {"Host: a", "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "X-Original-Url: /api/v1/secrets", "X-Rewrite-Url: /api/v1/secrets", "X-Http-Method-Override: GET"},
}

// TestPathsLeadNowhereElse: mallory gets through the gateway what she gets from
// the apiserver, to the letter of the status and of what a 200 says.
func TestPathsLeadNowhereElse(t *testing.T) {
	t.Parallel()
	s := theStage(t)
	type walk struct{ name, text string }
	var walks []walk
	for _, first := range detours {
		walks = append(walks, walk{first, head("", first, host, closing)})
	}
	for _, lines := range hosts {
		for _, first := range []string{"GET /api/v1/secrets HTTP/1.1", "GET /version HTTP/1.1", "GET /livez HTTP/1.1", "GET https://other.example/version HTTP/1.1", "GET /version HTTP/1.0"} {
			walks = append(walks, walk{first + " with " + strings.Join(lines, " and "), head("", append([]string{first, closing}, lines...)...)})
		}
	}
	allowed, forbidden := 0, 0
	for _, as := range []string{"mallory", "nobody"} {
		t.Run(as, func(t *testing.T) {
			for _, w := range walks {
				direct, err := s.direct.one(t.Context(), as, w.text)
				if err != nil {
					t.Errorf("%q: %v", w.name, err)
					continue
				}
				switch direct.status {
				case 200:
					allowed++
				case refused:
					forbidden++
				}
				for _, side := range s.through {
					got, err := side.one(t.Context(), as, w.text)
					if err != nil {
						t.Errorf("%q: %v", w.name, err)
						continue
					}
					if got.status != direct.status {
						t.Errorf("%q: %s answered %s; directly %s", w.name, side.name, got, direct)
					}
					if got.status == 200 && got.body != direct.body {
						t.Errorf("%q: %s said %.200q; directly %.200q", w.name, side.name, got.body, direct.body)
					}
					if got.header.Get("Location") != direct.header.Get("Location") {
						t.Errorf("%q: %s leads to %q; directly to %q", w.name, side.name, got.header.Get("Location"), direct.header.Get("Location"))
					}
					if strings.Contains(got.body, "treasure\"") && got.status == 200 {
						t.Errorf("%q: %s shows the treasure", w.name, side.name)
					}
				}
			}
		})
	}
	t.Logf("%d walks, %d of them allowed, %d forbidden", len(walks), allowed, forbidden)
	if allowed < 10 || forbidden < 50 {
		t.Errorf("only %d walks led to something and %d were forbidden: the table says little", allowed, forbidden)
	}
}
