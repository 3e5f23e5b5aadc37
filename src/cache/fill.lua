-- ARGV: version, value, Redis's time before the value was read, TTL in milliseconds from that time.
-- The TTL includes any delay of the filling node. A newer value is not replaced.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local ttl = tonumber(ARGV[3]) + tonumber(ARGV[4]) - now
if ttl <= 0 then
  return 0
end
local cached = redis.call('GET', KEYS[1])
if cached and tonumber(string.match(cached, '^%d+')) > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', ttl)
return 1
