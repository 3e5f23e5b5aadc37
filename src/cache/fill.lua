-- ARGV: version, value, Redis's time before the value was read, TTL in milliseconds from that time.
-- The TTL includes any delay of the filling node. It is never longer than that of a value that was just
-- read: the time may come from a clock that was ahead, of a server that this one has replaced or of this
-- one before it was set back. A newer value is not replaced.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ttl = math.min(tonumber(ARGV[3]) + tonumber(ARGV[4]) - now, tonumber(ARGV[4]))
if ttl <= 0 then
  return 0
end
local cached = redis.call('GET', KEYS[1])
if cached and tonumber(string.match(cached, '^%d+')) > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ttl)
return 1
