-- Announces a node and counts the nodes that did so lately, by Redis's own clock.
--
-- KEYS: the set of the nodes. ARGV: this node; the seconds after which a silent node is forgotten.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[2]))
-- After the clock was set back. Lua's own text of a number would be rounded, maybe below this node.
redis.call('ZREMRANGEBYSCORE', KEYS[1], string.format('(%.6f', now), '+inf')
redis.call('PEXPIRE', KEYS[1], math.ceil(tonumber(ARGV[2]) * 1000))
return redis.call('ZCARD', KEYS[1])
