package routing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

// ErrUnreachable means that no server could take the request: nothing of it has
// reached an apiserver.
var ErrUnreachable = errors.New("no kube-apiserver can be reached")

// Unreachable is an ErrUnreachable to which a Route or Switch has led: servers that
// it does not name may be up.
type Unreachable struct {
	// By names the Route or Switch, e.g. "route/others".
	By string
	// Groups are those it names, Idle others that have a healthy server.
	Groups, Idle []string
}

func (u *Unreachable) Error() string {
	return fmt.Sprintf("%v: no server of the groups of %s is up: %s", ErrUnreachable, u.By, strings.Join(u.Groups, ", "))
}

// Is tells that it is an ErrUnreachable.
func (u *Unreachable) Is(target error) bool { return target == ErrUnreachable }

// Reason is why a group refuses a request.
type Reason string

const (
	// RateExceeded is the group's qps.
	RateExceeded Reason = "RateExceeded"
	// TooManyInFlight is the group's maxInFlight.
	TooManyInFlight Reason = "TooManyInFlight"
	// Overloaded is a group whose servers have more to do than they can.
	Overloaded Reason = "Overloaded"
)

// Refused is the error of a request that its groups' limits refuse. Nothing of
// it has reached an apiserver.
type Refused struct {
	Group    string
	Priority v1alpha1.Priority
	Reason   Reason
	// RetryAfter is when it may be worth to try again.
	RetryAfter time.Duration
}

func (r *Refused) Error() string {
	return fmt.Sprintf("group %s refuses requests of priority %s: %s", r.Group, r.Priority, r.Reason)
}
