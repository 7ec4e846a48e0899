package limiter

import (
	"context"
	"crypto/x509"
	_ "embed" // redis.lua
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

//go:embed redis.lua
var leaseSource string

const (
	// giveBackSource: KEYS bucket; ARGV deadline, tokens, burst.
	giveBackSource = `
local time = redis.call('TIME')
local tokens = tonumber(redis.call('HGET', KEYS[1], 'tokens'))
if tokens and time[1] * 1000000 + time[2] <= tonumber(ARGV[1]) then
  tokens = math.min(tonumber(ARGV[3]), tokens + tonumber(ARGV[2]))
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens))
end
return 0`

	// beatSource: KEYS replicas, epoch; ARGV name, TTL in microseconds. Late ones do
	// no harm.
	beatSource = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('SET', KEYS[2], string.format('%.0f', now), 'NX')
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
return {redis.call('ZCARD', KEYS[1]), now}`
)

// DefaultRedisPrefix is what the names of keys begin with. The braces put all of
// them into one slot of a cluster.
const DefaultRedisPrefix = "{asi-gateway}:limiter:"

// Redis are shared counters in a Redis server. It implements Shared.
type Redis struct {
	options               *redis.Options
	client                atomic.Pointer[redis.Client]
	prefix                string
	lease, giveBack, beat *redis.Script
}

// RedisConfig says where Redis is, and how to be let in.
type RedisConfig struct {
	// URL is redis://, rediss:// (with TLS) or unix://.
	URL string
	// PasswordFile has the password, which takes the place of the URL's. It is read for
	// every connection, so that it can change.
	PasswordFile string
	// CAFile has the PEM certificates that the server of a rediss:// URL is verified by;
	// by default it is the system's.
	CAFile string
	// Prefix is what the names of keys begin with. Gateways of the same cluster use the
	// same.
	Prefix string
}

// NewRedis returns the counters in a Redis. It does not connect yet.
func NewRedis(c RedisConfig) (*Redis, error) {
	o, err := redis.ParseURL(c.URL)
	if err != nil {
		return nil, fmt.Errorf("URL of Redis: %w", urlFault(c.URL, err))
	}
	if err := c.secure(o); err != nil {
		return nil, err
	}
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = callTimeout, callTimeout, callTimeout, callTimeout
	o.ContextTimeoutEnabled = true
	// No call is repeated: a lease that was applied twice would be lost, and tokens
	// given back twice would be made.
	o.MaxRetries, o.DialerRetries = -1, 1
	o.PoolSize, o.PipelinePoolSize = leaseWorkers+2, -1
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	r := &Redis{
		options: o, prefix: c.Prefix,
		lease: redis.NewScript(leaseSource), giveBack: redis.NewScript(giveBackSource), beat: redis.NewScript(beatSource),
	}
	r.client.Store(redis.NewClient(o))
	return r, nil
}

// secure sets what the files say.
func (c *RedisConfig) secure(o *redis.Options) error {
	if c.PasswordFile != "" {
		if _, err := readPassword(c.PasswordFile); err != nil {
			return err
		}
		user := o.Username
		o.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := readPassword(c.PasswordFile)
			return user, password, err
		}
	}
	if c.CAFile == "" {
		return nil
	}
	if o.TLSConfig == nil {
		return errors.New("a CA bundle is for a rediss:// URL: there is no TLS otherwise")
	}
	bundle, err := os.ReadFile(c.CAFile)
	if err != nil {
		return fmt.Errorf("CA bundle: %w", err)
	}
	o.TLSConfig.RootCAs = x509.NewCertPool()
	if !o.TLSConfig.RootCAs.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("CA bundle: %s has no PEM certificate", c.CAFile)
	}
	return nil
}

// readPassword reads a file, which editors end with a new line.
func readPassword(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	password := strings.TrimRight(string(data), "\r\n")
	if password == "" {
		return "", fmt.Errorf("password: %s is empty", file)
	}
	return password, nil
}

// urlFault says what is wrong with a URL, but does not quote what may be of a
// password.
func urlFault(address string, err error) error {
	var unparsable *url.Error
	if errors.As(err, &unparsable) || strings.Contains(address, "@") {
		return errors.New("it is not shown, since it may have a password; want redis://USER:PASSWORD@HOST:PORT/DATABASE, with what is special in the password percent-encoded")
	}
	return err
}

// Close ends the connections.
func (r *Redis) Close() error { return r.client.Load().Close() }

// renew drops all connections after an error: those that the server has closed
// would fail later calls, although it may be back by then.
func (r *Redis) renew(failed *redis.Client) {
	// A client may change its options.
	o := *r.options
	if fresh := redis.NewClient(&o); r.client.CompareAndSwap(failed, fresh) {
		_ = failed.Close()
	} else {
		_ = fresh.Close()
	}
}

func (r *Redis) epoch() string { return r.prefix + "epoch" }

// Lease implements Shared.
func (r *Redis) Lease(ctx context.Context, requests []LeaseRequest) ([]LeaseResult, error) {
	replies, err := r.runAll(ctx, r.lease, len(requests), func(i int) ([]string, []any) {
		q := &requests[i]
		to := int64(-1)
		if q.Outage {
			to = max(0, q.OutageTo.Microseconds())
		}
		return []string{r.prefix + "bucket:" + q.Key, r.epoch()}, []any{
			q.Deadline, q.Tokens, exact(q.Rate), q.Burst, q.Age.Microseconds(), exact(q.PreviousRate), q.PreviousBurst, q.Seen,
			q.OutageFrom.Microseconds(), q.Failed.Microseconds(), to, q.Owed, q.Debt,
		}
	})
	if err != nil {
		return nil, err
	}
	results := make([]LeaseResult, len(requests))
	for i, reply := range replies {
		values, err := reply.Int64Slice()
		switch {
		case err != nil:
			return nil, fmt.Errorf("lease: %w", err)
		case len(values) != 3:
			return nil, fmt.Errorf("lease: %d values", len(values))
		case values[0] < 0:
			return nil, errLate
		}
		wait := time.Duration(min(values[1], int64(1<<62)/int64(time.Microsecond))) * time.Microsecond
		results[i] = LeaseResult{Tokens: int(values[0]), Wait: wait, Now: values[2]}
	}
	return results, nil
}

// GiveBack implements Shared.
func (r *Redis) GiveBack(ctx context.Context, leases []LeaseRequest) error {
	_, err := r.runAll(ctx, r.giveBack, len(leases), func(i int) ([]string, []any) {
		q := &leases[i]
		return []string{r.prefix + "bucket:" + q.Key}, []any{q.Deadline, q.Tokens, q.Burst}
	})
	return err
}

// Beat implements Shared.
func (r *Redis) Beat(ctx context.Context, replica string) (int, int64, error) {
	client := r.client.Load()
	values, err := r.beat.Run(ctx, client, []string{r.prefix + "replicas", r.epoch()}, replica, replicaTTL.Microseconds()).Int64Slice()
	if err != nil {
		r.renew(client)
		return 0, 0, fmt.Errorf("heartbeat: %w", err)
	}
	if len(values) != 2 {
		return 0, 0, fmt.Errorf("heartbeat: %d values", len(values))
	}
	return int(values[0]), values[1], nil
}

// Leave implements Shared.
func (r *Redis) Leave(ctx context.Context, replica string) error {
	return r.client.Load().ZRem(ctx, r.prefix+"replicas", replica).Err()
}

// runAll runs a script n times in one round trip. Those that the server did not
// know have had no effect and are run again with the source.
func (r *Redis) runAll(ctx context.Context, script *redis.Script, n int, arguments func(int) ([]string, []any)) ([]*redis.Cmd, error) {
	replies := make([]*redis.Cmd, n)
	client := r.client.Load()
	pipe := client.Pipeline()
	for i := range n {
		keys, args := arguments(i)
		replies[i] = script.EvalSha(ctx, pipe, keys, args...)
	}
	_, err := pipe.Exec(ctx)
	if err != nil && unknownScript(err) {
		pipe = client.Pipeline()
		for i, reply := range replies {
			if err := reply.Err(); err == nil || !unknownScript(err) {
				continue
			}
			keys, args := arguments(i)
			replies[i] = script.Eval(ctx, pipe, keys, args...)
		}
		_, err = pipe.Exec(ctx)
	}
	if err != nil {
		r.renew(client)
	}
	return replies, err
}

func unknownScript(err error) bool {
	return errors.Is(err, redis.ErrNoScript) || strings.HasPrefix(err.Error(), "NOSCRIPT")
}

// exact formats without losing digits.
func exact(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
