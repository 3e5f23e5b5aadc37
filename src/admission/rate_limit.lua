-- GCRA (generic cell rate algorithm) for many users at once, after Brandur Leach's redis-cell: a
-- key holds the time at which its user's bucket will be full again, in microseconds.
--
-- KEYS: one per user. ARGV: refill time of a cell and of a whole bucket, in microseconds; then one
-- number per key: 0 requests a cell, n > 0 takes n cells that were used already, if need be of a
-- tenth more than the bucket has: that has to be refilled first. Returns, per key, the microseconds
-- until the next cell where there is none, else -n: n cells are left.
--
-- The clock is Redis's own, so the nodes' clocks do not matter. It counts from 2026, because a
-- double has no room for fractions of a microsecond since 1970.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1767225600) * 1000000 + tonumber(time[2])
local cell, bucket = tonumber(ARGV[1]), tonumber(ARGV[2])
-- Sums of cells are rounded: a rounding error must not refuse the last cell.
local slack = cell / 1000
local most = bucket * 1.1
local stored = redis.call('MGET', unpack(KEYS))
-- A call may contain a user more than once.
local changed, results = {}, {}
for i, key in ipairs(KEYS) do
  local used = tonumber(ARGV[i + 2])
  local full = changed[key] or tonumber(stored[i] or now)
  if full > now + most then
    -- The clock was set back: the bucket is empty at most.
    full = now + bucket
  end
  full = math.max(full, now)
  local wait = 0
  if used == 0 then
    wait = full + cell - bucket - now
    full = full + cell
  else
    full = math.min(full + used * cell, now + most)
    wait = full + cell - bucket - now
  end
  if wait <= slack or used > 0 then
    changed[key] = full
    redis.call('SET', key, full, 'PX', math.ceil((full - now) / 1000) + 1)
  end
  if wait <= slack then
    results[i] = -math.floor((now + bucket - full) / cell + 0.001)
  else
    results[i] = math.ceil(wait)
  end
end
return results
