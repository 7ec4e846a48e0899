package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// suggestTimeout bounds what is asked for after something has gone wrong
// already, and while somebody waits for a completion.
const suggestTimeout = 2 * time.Second

// explainError says what went wrong, and what to do about it.
func (c *cli) explainError(ctx context.Context, err error) string {
	message := err.Error()
	var network *url.Error
	if errors.As(err, &network) {
		// Path and query say nothing to whom has to act.
		message = fmt.Sprintf("the gateway at %s cannot be reached: %v", hostOf(network.URL), network.Err)
	}
	if advice := c.advice(ctx, err); advice != "" {
		message += "\n" + advice
	}
	return printableLines(message)
}

func (c *cli) advice(ctx context.Context, err error) string {
	var network *url.Error
	switch {
	case errors.As(err, &network):
		return c.networkAdvice(network)
	case apierrors.IsNotFound(err) && unexpectedServer(err):
		return "Is " + c.connection.whence() + " a gateway, and not a kube-apiserver behind it? A gateway of an older version may not have this, either."
	case apierrors.IsNotFound(err):
		return c.similar(ctx, err)
	case apierrors.IsForbidden(err):
		return "RBAC of the cluster decides, on the API group " + v1alpha1.GroupName + "; ask for a role that allows it. Members of system:masters are let in even while no kube-apiserver answers."
	case apierrors.IsUnauthorized(err):
		return "The gateway does not accept the credentials of " + c.connection.whence() + ". While no kube-apiserver answers, tokens that it has not seen before cannot be checked; client certificates can."
	case apierrors.IsConflict(err):
		return "Somebody else changes it all the time. Look at it, and try again."
	}
	return ""
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	return u.Scheme + "://" + u.Host
}

// unexpectedServer tells that no gateway has answered so: there is nothing at
// the path.
func unexpectedServer(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func (c *cli) networkAdvice(err *url.Error) string {
	at := "The address is that of " + c.connection.whence() + "."
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return at + " Its certificate is for another name: give that one with --tls-server-name."
	case errors.As(err, &unknown), errors.As(err, &certificate):
		return at + " Its certificate is not trusted: give the CA with --certificate-authority."
	case err.Timeout():
		return at + " It does not answer in time. Every replica of the gateway will do: name another one with --server."
	default:
		return at + " Every replica of the gateway will do: name another one with --server."
	}
}

// similar names objects that may have been meant.
func (c *cli) similar(ctx context.Context, err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	resource, name := status.Status().Details.Kind, status.Status().Details.Name
	how, known := map[string]string{
		rateLimits: "limits", clientClasses: "classes", switches: "switch list", upstreamGroups: "route status", routes: "route list", cachedResources: "cache",
	}[resource]
	if !known {
		return ""
	}
	var lines []string
	if resource == rateLimits {
		if command := near(name, []string{"set", "enforce", "dry-run", "off", "delete", "recommend", "simulate"}); len(command) > 0 {
			lines = append(lines, fmt.Sprintf("Did you mean the command '%s limits %s'?", c.program.shown, command[0]))
		}
	}
	if names := near(name, c.namesInTime(ctx, namesOf(resource))); len(names) > 0 {
		lines = append(lines, "Did you mean "+strings.Join(names, ", ")+"?")
	}
	return strings.Join(append(lines, fmt.Sprintf("'%s %s' lists those that exist.", c.program.shown, how)), "\n")
}

// namesInTime returns no names rather than make anybody wait.
func (c *cli) namesInTime(ctx context.Context, read namesReader) []string {
	client, err := c.connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, suggestTimeout)
	defer cancel()
	names, _ := read(ctx, client)
	return names
}

// near returns at most three of the names that could be meant by one, the most
// similar first.
func near(name string, names []string) []string {
	if name == "" {
		return nil
	}
	type candidate struct {
		name     string
		distance int
	}
	var found []candidate
	for _, other := range names {
		d := distance(name, other)
		if strings.Contains(other, name) && len(name) >= 3 || sameWords(name, other) {
			d = min(d, 1)
		}
		if d <= max(1, min(len(name), len(other))/3) {
			found = append(found, candidate{other, d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.name, b.name))
	})
	var out []string
	for _, f := range found[:min(3, len(found))] {
		out = append(out, f.name)
	}
	return out
}

// sameWords tells that a name has all words of another, in whatever order: who
// remembers list-pods-all means list-all-pods.
func sameWords(name, other string) bool {
	words, others := strings.Split(name, "-"), strings.Split(other, "-")
	return len(words) > 1 && !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(others, w) })
}

// distance is how many letters must be added, removed or replaced (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
