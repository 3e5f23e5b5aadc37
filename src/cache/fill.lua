-- ARGV: version, value, Redis's time before the value was read, milliseconds that it may live from
-- then on. However long the filling node was held up, nothing gets older than that; and nothing
-- newer is replaced.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local left = tonumber(ARGV[3]) + tonumber(ARGV[4]) - now
if left <= 0 then
  return 0
end
local known = redis.call('GET', KEYS[1])
if known and tonumber(string.match(known, '^%d+')) > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2], 'PX', left)
return 1
