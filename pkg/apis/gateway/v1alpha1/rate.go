package v1alpha1

import "math"

// EffectiveRate returns what a limit comes to in a cluster of so many nodes: the
// rate in requests per second, and the burst in requests.
func EffectiveRate(s *RateLimitSpec, nodes int) (rate, burst float64) {
	floor := s.QPS.AsApproximateFloat64()
	rate = floor
	if s.QPSPerNode != nil {
		rate = max(rate, s.QPSPerNode.AsApproximateFloat64()*float64(nodes))
	}
	if s.Burst == nil {
		return rate, max(1, math.Ceil(rate))
	}
	burst = float64(*s.Burst)
	if rate > floor && floor > 0 {
		burst *= rate / floor
	}
	return rate, math.Ceil(burst)
}
