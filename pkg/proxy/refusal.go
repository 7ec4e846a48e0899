package proxy

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
	"github.com/asi-gateway/asi-gateway/pkg/limiter"
	"github.com/asi-gateway/asi-gateway/pkg/request"
	"github.com/asi-gateway/asi-gateway/pkg/routing"
	"github.com/asi-gateway/asi-gateway/pkg/switches"
)

// refusedByHeader names the policy that refused a request, for people and for
// clients that tell a limit of the gateway from one of a kube-apiserver.
const refusedByHeader = "X-Asi-Gateway-Refused-By"

// refusedBy names the policy in header and access log.
func refusedBy(w http.ResponseWriter, policy string) {
	w.Header()[refusedByHeader] = []string{policy}
	if record := recordOf(w); record != nil {
		record.refusedBy = policy
	}
}

// recordOf returns the record under what stages have put around it; nil if there is
// none.
func recordOf(w http.ResponseWriter) *responseRecord {
	for {
		switch known := w.(type) {
		case *responseRecord:
			return known
		case interface{ Unwrap() http.ResponseWriter }:
			w = known.Unwrap()
		default:
			return nil
		}
	}
}

// errLimited is kube-apiserver's answer to too many requests, with the limit and
// when to come back.
func errLimited(a *request.Attributes, d limiter.Decision) *apierrors.StatusError {
	wait := int(math.Ceil(d.RetryAfter.Seconds()))
	why := "may send " + strconv.FormatFloat(d.QPS, 'g', 4, 64) + " per second, " + strconv.Itoa(d.Burst) + " at once"
	switch d.Reason {
	case limiter.TooManyInFlight:
		why = fmt.Sprintf("may have %d under way at a time", d.MaxInFlight)
	case limiter.Closed:
		why = "may send none"
	case limiter.NoCounters:
		why = "must wait until the shared counters can be reached"
	}
	return apierrors.NewTooManyRequests(fmt.Sprintf("the gateway's RateLimit %q refuses to %s: clients like %s %s; try again in %d s",
		d.Rule, request.Describe(a), quoteName(a.ClientName), why, wait), wait)
}

// errGroupFull tells a client that the servers for its priority have enough to do.
func errGroupFull(r *routing.Refused) *apierrors.StatusError {
	why := "has more under way than its maxInFlight leaves to"
	switch r.Reason {
	case routing.RateExceeded:
		why = "has had more requests than its qps leaves to"
	case routing.Overloaded:
		why = "is overloaded and sheds"
	}
	// Jittered, so that those who are refused together do not come back together.
	wait := max(1, int(math.Ceil(r.RetryAfter.Seconds()))) + rand.IntN(3)
	return apierrors.NewTooManyRequests(fmt.Sprintf("the gateway's UpstreamGroup %q %s clients of priority %s; try again in %d s",
		r.Group, why, r.Priority, wait), wait)
}

// errUnreachable tells that the servers which would serve a request are gone, and
// whose decision it is that others do not.
func errUnreachable(err error) *apierrors.StatusError {
	var u *routing.Unreachable
	if !errors.As(err, &u) {
		return errUnavailable("no kube-apiserver can be reached at the moment; nothing was sent, try again")
	}
	message := fmt.Sprintf("none of the kube-apiservers by which the gateway's %s has this request served (UpstreamGroup %s) can be reached at the moment; nothing was sent, try again",
		u.By, strings.Join(u.Groups, ", "))
	if len(u.Idle) > 0 {
		how := "naming it in the Route's spill"
		if strings.HasPrefix(u.By, "switch/") {
			how = "turning the Switch off"
		}
		message += fmt.Sprintf("; an operator can let %s serve it by %s", strings.Join(u.Idle, " or "), how)
	}
	return errUnavailable(message)
}

// causeExpires is the cause in a Status that has the time at which a switch is
// over.
const causeExpires = metav1.CauseType("SwitchExpiresAt")

// errSwitched tells what a switch stops, why and until when. A client of low
// priority is to come back. Others get no Retry-After: client-go would send the
// request ten times more before it told anybody, and somebody waits at a terminal
// for the answer.
func errSwitched(a *request.Attributes, refusal *switches.Refusal, left time.Duration) *apierrors.StatusError {
	message := fmt.Sprintf("the gateway's Switch %q (%s) refuses to %s until %s: %s",
		refusal.Name, refusal.Type, request.Describe(a), refusal.ExpiresAt.UTC().Format(time.RFC3339), refusal.Reason)
	if refusal.Type == v1alpha1.SwitchShedPriority {
		return apierrors.NewTooManyRequests(message, min(max(1, int(math.Ceil(left.Seconds()))), 30))
	}
	e := apierrors.NewServiceUnavailable(message)
	e.ErrStatus.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{
		{Type: causeExpires, Message: refusal.ExpiresAt.UTC().Format(time.RFC3339)},
	}}
	return e
}

// quoteName keeps messages short whatever the client calls itself.
func quoteName(name string) string {
	if len(name) > 64 {
		name = name[:64] + "..."
	}
	return strconv.Quote(name)
}
