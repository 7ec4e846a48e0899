package differential

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"

	v1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
)

// rule replaces what two runs of the same case cannot have in common. Rules
// work on text, so that everything else must agree byte for byte.
type rule struct {
	pattern *regexp.Regexp
	with    string
}

func mask(pattern, with string) rule { return rule{regexp.MustCompile(pattern), with} }

// readRules are for cases that read what all sides share.
var readRules = []rule{
	// Any write in the cluster moves the revision of the next list on. It is
	// the first field of metadata, for custom resources behind "continue".
	mask(`("metadata":\s*\{\s*"resourceVersion":\s*)"\d+"`, `$1"<revision>"`),
	mask(`("metadata":\s*\{\s*"continue":\s*"[^"]*",\s*("remainingItemCount":\s*\d+,\s*)?"resourceVersion":\s*)"\d+"`, `$1"<revision>"`),
	// YAML sorts keys; only lists have metadata without a name.
	mask(`(?m)^(metadata:\n(?:  continue: \S+\n)?(?:  remainingItemCount: \d+\n)?  resourceVersion: )"\d+"`, `$1"<revision>"`),
	// Tables print ages, and a second may pass between two readings.
	mask(`([\[,])"(?:\d+[ydhms])+"`, `$1"<age>"`),
	mask(`(?m)^( *- )(?:\d+[ydhms])+$`, `$1<age>`),
	// Where the server stands right now.
	mask(`too old resource version: (\d+) \(\d+\)`, `too old resource version: $1 (<revision>)`),
	mask(`Too large resource version: (\d+), current: \d+`, `Too large resource version: $1, current: <revision>`),
}

var maskTime = mask(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`, `<time>`)

// reviewRules are for reviews, which are not stored but have a time. The uids in
// them are those of shared objects.
var reviewRules = append([]rule{maskTime}, readRules...)

// ownRules are for cases that make objects of their own.
var ownRules = append([]rule{
	mask(`\bdiff-[dfgij]\b`, `diff-x`),
	mask(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`, `<uid>`),
	maskTime,
	mask(`([rR]esourceVersion\\*":\s*\\*")\d+`, `$1<revision>`),
	mask(`(?m)^(\s*resourceVersion: )"\d+"`, `$1"<revision>"`),
	mask(`(does not match the ResourceVersion in record )\(\d+\)`, `$1(<revision>)`),
	// metadata.generateName "generated-" gets five random letters.
	mask(`\bgenerated-[a-z0-9]{5}\b`, `generated-<random>`),
	// The volume of a pod's service account token.
	mask(`\bkube-api-access-[a-z0-9]{5}\b`, `kube-api-access-<random>`),
	mask(`"10\.\d+\.\d+\.\d+"`, `"<cluster IP>"`),
	// Issued tokens are signed with a time.
	mask(`eyJ[\w-]+\.[\w-]+\.[\w-]+`, `<token>`),
}, readRules...)

var continuePattern = regexp.MustCompile(`("continue":\s*")([A-Za-z0-9_-]+)"`)

// maskContinue opens continue tokens and takes the revision out.
func maskContinue(text string) string {
	return continuePattern.ReplaceAllStringFunc(text, func(found string) string {
		parts := continuePattern.FindStringSubmatch(found)
		token, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			return found
		}
		return parts[1] + revisionInToken.ReplaceAllString(string(token), `"rv":0`) + `"`
	})
}

var revisionInToken = regexp.MustCompile(`"rv":-?\d+`)

// applyRules opens continue tokens last: what is in them has quotes, which the
// rules take for the end of the token.
func applyRules(text string, rules []rule) string {
	for _, r := range rules {
		text = r.pattern.ReplaceAllString(text, r.with)
	}
	return maskContinue(text)
}

// readable turns an encoded body into text that rules can work on.
func readable(h http.Header, body []byte) string {
	if h.Get("Content-Encoding") == "gzip" {
		if r, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			if plain, err := io.ReadAll(r); err == nil {
				body = plain
			}
		}
	}
	mediaType := h.Get("Content-Type")
	if !strings.Contains(mediaType, "protobuf") {
		return string(body)
	}
	if !strings.Contains(mediaType, "stream=watch") {
		return objectText(body)
	}
	var text strings.Builder
	for in := bufio.NewReader(bytes.NewReader(body)); ; {
		frame, err := readFrame(in)
		if err != nil {
			text.Write(frame)
			return text.String()
		}
		var event v1.WatchEvent
		if err := event.Unmarshal(frame[4:]); err != nil {
			text.Write(frame)
			continue
		}
		text.WriteString(event.Type + " " + objectText(event.Object.Raw) + "\n")
	}
}

func objectText(body []byte) string {
	object, _, err := codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return string(body)
	}
	text, err := json.Marshal(object)
	if err != nil {
		return string(body)
	}
	return string(text)
}

// codecs know the built-in types and what is made of them.
var codecs = func() serializer.CodecFactory {
	s := runtime.NewScheme()
	if err := scheme.AddToScheme(s); err != nil {
		panic(err)
	}
	if err := v1.AddMetaToScheme(s); err != nil {
		panic(err)
	}
	v1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return serializer.NewCodecFactory(s)
}()

// readFrame reads a frame behind its 4-byte big-endian length, length included.
func readFrame(r io.Reader) ([]byte, error) {
	frame := make([]byte, 4)
	if n, err := io.ReadFull(r, frame); err != nil {
		return frame[:n], err
	}
	body, err := io.ReadAll(io.LimitReader(r, int64(binary.BigEndian.Uint32(frame))))
	if err == nil && len(body) < int(binary.BigEndian.Uint32(frame)) {
		err = io.ErrUnexpectedEOF
	}
	return append(frame, body...), err
}
