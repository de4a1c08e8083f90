-- wrk asks for the names of the file in turn, from a place that is another in each run.
local names = {}
local at = 0
function init(args)
  for line in io.lines(args[1]) do names[#names + 1] = wrk.format("GET", line) end
  at = tonumber(args[2]) % #names
end
function request()
  at = at % #names + 1
  return names[at]
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT {"requests":%d,"notFound":%d,"broken":%d,"durationMs":%f,"p50Ms":%f,"p99Ms":%f}\n',
    summary.requests, e.status, e.connect + e.read + e.write + e.timeout, summary.duration / 1000,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
