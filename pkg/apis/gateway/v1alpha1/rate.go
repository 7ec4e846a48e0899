package v1alpha1

import "math"

// MaxQPS is more than any gateway can serve.
const MaxQPS = 1_000_000

// EffectiveRate returns what a limit comes to in a cluster of so many nodes: the
// rate in requests per second, and the burst in requests. Those of one without a
// rate are such that nobody meets them.
func EffectiveRate(s *RateLimitSpec, nodes int) (rate, burst float64) {
	if s.QPS == nil {
		return MaxQPS, MaxQPS
	}
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
