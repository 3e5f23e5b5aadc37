-- wrk script of soak.sh: everything that buyers and a shop do, in fixed proportions and at a given rate.
--
--   wrk … -s contention/bench/soak.lua URL -- DIR RATE THREADS
--
-- DIR has the files `tokens` (one buyer's a line, of buyer-1 and on), `admin` (a token), and the ids of products:
-- `hot`, which are sold as fast as the rate asks, and `held`, which have holds, a limit per user and a waitlist.
-- RATE is in requests a second of all threads; 0 sends as fast as the service answers.
-- Each minute SMALL products are made, bought until they are sold out, and never used again.

local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds; long nanoseconds; } soak_time; int clock_gettime(int, soak_time *);")
local MONOTONIC = 1
local clock = ffi.new("soak_time")
local function now()
  ffi.C.clock_gettime(MONOTONIC, clock)
  return tonumber(clock.seconds) + tonumber(clock.nanoseconds) / 1e9
end

local SMALL = 3600
local SMALL_STOCK = 2
-- Orders that wait for their cancellation, in each thread.
local CANCEL_MAX = 500

local started = 0
-- Each thread begins with another user.
function setup(thread)
  thread:set("number", started)
  started = started + 1
end

local function lines(path)
  local all = {}
  for line in io.lines(path) do all[#all + 1] = line end
  return all
end

local tokens, admin, hot, held
local every, due, every_small, due_small
local turn, made, run = 0, 0, ""
local to_buy, to_cancel = {}, {}
local small_made = 0

function init(args)
  local dir, rate, threads = args[1], tonumber(args[2]), tonumber(args[3])
  tokens, admin, hot, held = lines(dir .. "/tokens"), lines(dir .. "/admin")[1], lines(dir .. "/hot"), lines(dir .. "/held")
  due = now()
  due_small = due
  every = rate > 0 and threads / rate or 0
  every_small = 60 * threads / SMALL
  turn = number * 4999
  run = string.format("%d-%.0f", number, due * 1000)
  math.randomseed(number + math.floor(due * 1000) % 1000000)
end

-- A connection waits until its request is due; the schedule of a thread does not wait for answers.
function delay()
  if every == 0 then return 0 end
  local at = now()
  due = math.max(due + every, at - 0.1)
  return math.max(0, math.floor((due - at) * 1000 + 0.5))
end

local function any(list) return list[math.random(#list)] end

local function send(method, path, token, body, key)
  local headers = { ["Authorization"] = token and "Bearer " .. token }
  if body then headers["Content-Type"] = "application/json" end
  headers["Idempotency-Key"] = key
  return wrk.format(method, path, headers, body)
end

local function buy(product, key, waits)
  turn = turn % #tokens + 1
  local body = string.format('{"product_id":"%s","quantity":1%s}', product, waits and ',"waitlist":true' or "")
  return send("POST", "/orders", tokens[turn], body, key)
end

local function read(share)
  if share < 0.5 then return send("GET", "/products/" .. any(hot) .. "/availability") end
  if share < 0.7 then return send("GET", "/products/" .. any(held)) end
  if share < 0.8 then return send("GET", "/products") end
  if share < 0.9 then return send("GET", "/orders?limit=20", any(tokens)) end
  return send("GET", "/products/" .. any(held) .. "/waitlist", any(tokens))
end

local function make_small(at)
  due_small = math.max(due_small + every_small, at - 1)
  small_made = small_made + 1
  return send("POST", "/products", admin, string.format(
    '{"sku":"small-%s-%d","name":"Small","price":100,"currency":"EUR","stock":%d}', run, small_made, SMALL_STOCK))
end

function request()
  local at = now()
  if at >= due_small then return make_small(at) end
  local small = to_buy[#to_buy]
  if small then
    small.left = small.left - 1
    if small.left == 0 then to_buy[#to_buy] = nil end
    return buy(small.id)
  end
  local share = math.random()
  made = made + 1
  if share < 0.72 then return buy(any(hot), "soak-" .. run .. "-" .. made) end
  if share < 0.82 then return buy(any(held), "held-" .. run .. "-" .. made, true) end
  if share < 0.93 then return read(math.random()) end
  if share < 0.97 then
    local order = table.remove(to_cancel)
    if order then return send("POST", order.path .. "/cancel", tokens[order.user], "{}") end
  elseif share < 0.985 then
    return send("DELETE", "/products/" .. any(held) .. "/waitlist", any(tokens))
  elseif share < 0.99 then
    return send("POST", "/products/" .. any(held) .. "/restock", admin, '{"quantity":1}')
  end
  return buy(any(hot), "soak-" .. run .. "-" .. made)
end

function response(status, headers, body)
  if status ~= 201 then return end
  local sku = body:find('"sku":"small-', 1, true)
  if sku then
    -- One more than there are.
    to_buy[#to_buy + 1] = { id = body:match('"id":"([^"]+)"'), left = SMALL_STOCK + 1 }
  elseif #to_cancel < CANCEL_MAX and body:find('"status":"pending"', 1, true) then
    local id, user = body:match('"id":"([^"]+)"'), body:match('"user_id":"buyer%-(%d+)"')
    to_cancel[#to_cancel + 1] = { path = "/orders/" .. id, user = tonumber(user) }
  end
end

-- wrk counts answers above 399 as status errors: refusals too, which this load has on purpose.
function done(summary)
  local errors = summary.errors
  print(string.format("FIGURES %d %d %d %.3f", summary.requests, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, summary.duration / 1e6))
end
