package apiserver

import (
	"cmp"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/asi-gateway/asi-gateway/pkg/apis/gateway/v1alpha1"
)

func replica(description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Replica", Type: "string", Format: "name", Description: description}
}

func rateLimitLiveColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		replica("The gateway that counted."),
		column("Rate", 0, "The limit in force, in requests per second."),
		column("Admitted/s", 0, "Mean over the last ten seconds."),
		column("Refused/s", 0, "Mean over the last ten seconds."),
		integer("Admitted", "Since the replica's start."),
		integer("Refused", "Since the replica's start."),
		integer("InFlight", "Requests under way."),
		integer("Buckets", "How many buckets there are."),
	}
}

// rateLimitLiveRows has a row for each replica.
func rateLimitLiveRows(l *v1alpha1.RateLimitLive) (rows [][]any) {
	for i := range l.Replicas {
		c := &l.Replicas[i]
		rows = append(rows, []any{
			c.Name, c.Rate.String(), c.AdmittedPerSecond.String(), c.RefusedPerSecond.String(),
			c.Admitted, c.Refused, c.InFlight, c.Buckets,
		})
	}
	return rows
}

func upstreamGroupLiveColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		replica("The gateway that sees it so."),
		column("Server", 0, "The kube-apiserver."),
		column("Health", 0, "Whether it gets requests."),
		column("Version", 0, "The Kubernetes version that it serves."),
		column("Latency", 0, "Mean time to the first byte of its small answers."),
		integer("InFlight", "Requests under way, without long-running ones."),
		integer("LongRunning", "Watches and the like that are under way."),
		integer("Requests", "Since the replica's start."),
		integer("Failures", "How many of them had no answer."),
		column("Reason", wide, "Why it is not ready."),
	}
}

// upstreamGroupLiveRows has a row for each server as each replica sees it.
func upstreamGroupLiveRows(l *v1alpha1.UpstreamGroupLive) (rows [][]any) {
	for i := range l.Replicas {
		for j := range l.Replicas[i].Endpoints {
			e := &l.Replicas[i].Endpoints[j]
			rows = append(rows, []any{
				l.Replicas[i].Name, e.URL, string(e.Health), cmp.Or(e.Version, none), e.Latency.Duration.String(),
				e.InFlight, e.LongRunning, e.Requests, e.Failures, cmp.Or(e.Reason, none),
			})
		}
	}
	return rows
}
