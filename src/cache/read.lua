-- Returns the cached value, and Redis's time in milliseconds for a later fill.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
return {redis.call('GET', KEYS[1]), string.format('%.0f', now)}
