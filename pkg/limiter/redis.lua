-- Leases tokens of one bucket. All times are microseconds of this server.
--
-- KEYS: bucket (a hash of tokens and at, the time at which it had them), epoch
-- ARGV: deadline, want, rate, burst, age, previous rate, previous burst, seen,
--       outage from, failed, outage to (-1: no outage), owed, debt
-- Returns tokens (-1: after the deadline, nothing is changed), wait, now.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local deadline, want, rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local changed, previous_rate, previous_burst = now - tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local seen = tonumber(ARGV[8])

if now > deadline then
  return {-1, 0, now}
end
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  epoch = now
  redis.call('SET', KEYS[2], string.format('%.0f', now))
end

local state = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(state[1]), tonumber(state[2])
if not tokens or at < seen then
  -- Full and forgotten, or lost. It was not below zero by more than what is owed.
  tokens, at = 0, math.max(tonumber(epoch), seen)
end
if at > now then
  at = now -- the clock was set back: nothing flows in twice
end

local from, to, owed = nil, nil, tonumber(ARGV[12])
if tonumber(ARGV[11]) >= 0 then
  if at < now - tonumber(ARGV[10]) then
    -- The first one back. All that was spent by shares is in the time that is void.
    from, to, owed = now - tonumber(ARGV[9]), now - tonumber(ARGV[11]), 0
  end
end

local function flow(til, r, b)
  if til > at then
    tokens = math.min(b, tokens + (til - at) * r / 1000000)
    at = til
  end
end
local function advance(til, r, b)
  if from then
    flow(math.min(til, from), r, b)
    at = math.max(at, math.min(til, to))
  end
  flow(til, r, b)
end
if at < changed then
  advance(changed, previous_rate, previous_burst)
end
advance(now, rate, burst)
tokens = math.max(math.min(tokens, burst) - owed - tonumber(ARGV[13]), -burst)

local granted = math.max(0, math.min(want, math.floor(tokens)))
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', string.format('%.17g', tokens), 'at', string.format('%.0f', now))
-- Forgotten when it would be full even if it were empty now.
local ttl = 1e12
if rate > 0 then
  ttl = math.min(math.ceil(2 * burst / rate * 1000) + 1000, ttl)
end
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl))
local wait = 0
if granted < want and rate > 0 then
  wait = math.min(math.ceil((1 - tokens) / rate * 1000000), 1e15)
end
return {granted, wait, now}
