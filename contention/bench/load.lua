-- wrk script of scripts/bench: sends orders of many users in turn, or plain requests, and prints the figures on one line.
--
--   wrk … -s contention/bench/load.lua URL                       GET URL
--   wrk … -s contention/bench/load.lua URL -- TOKENS PRODUCT…    POST /orders for the products in turn; TOKENS is a file
--                                                                with one buyer's token per line
--
-- No response() on purpose: wrk would spend CPU time on Lua that the server needs.

local threads = 0

-- Each thread starts with another user.
function setup(thread)
  thread:set("start", threads * 499)
  threads = threads + 1
end

function init(args)
  if args[1] == nil then return end
  local requests = {}
  for token in io.lines(args[1]) do
    local headers = { ["Authorization"] = "Bearer " .. token, ["Content-Type"] = "application/json" }
    local body = string.format('{"product_id":"%s","quantity":1}', args[2 + #requests % (#args - 1)])
    requests[#requests + 1] = wrk.format("POST", "/orders", headers, body)
  end
  local turn = start
  function request()
    turn = turn % #requests + 1
    return requests[turn]
  end
end

-- wrk counts answers above 399 as status errors; all other answers of these servers are 200 or 201.
function done(summary, latency)
  local errors = summary.errors
  local broken = errors.connect + errors.read + errors.write + errors.timeout
  local function ms(percentile) return latency:percentile(percentile) / 1000 end
  print(string.format("FIGURES %d %d %d %.6f %.2f %.2f %.2f", summary.requests, errors.status, broken,
    summary.duration / 1e6, ms(50), ms(95), ms(99)))
end
