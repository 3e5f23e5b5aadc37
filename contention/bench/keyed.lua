-- wrk script of history.sh: orders of many users in turn, each with a key of its own.
--
--   wrk … -s contention/bench/keyed.lua URL -- TOKENS PRODUCT      TOKENS is a file with one buyer's token per line

local threads = 0

-- Each thread starts with another user.
function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local tokens, body, run, turn, sent = {}, "", "", 0, 0

function init(args)
  for token in io.lines(args[1]) do tokens[#tokens + 1] = "Bearer " .. token end
  body = string.format('{"product_id":"%s","quantity":1}', args[2])
  turn = number * 4999
  run = string.format("%d-%d-%s-", os.time(), number, args[2]:sub(1, 8))
end

function request()
  turn, sent = turn % #tokens + 1, sent + 1
  return wrk.format("POST", "/orders", {
    ["Authorization"] = tokens[turn], ["Content-Type"] = "application/json", ["Idempotency-Key"] = run .. sent }, body)
end

-- wrk counts answers above 399 as status errors; the others are 201.
function done(summary)
  local errors = summary.errors
  print(string.format("FIGURES %d %d %.3f", summary.requests - errors.status,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout, summary.duration / 1e6))
end
