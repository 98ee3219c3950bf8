-- wrk sends the lines of the file named in BODIES in turn, each as the body of a POST, and prints one line.
local bodies = {}

function init()
  for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, line) end
  at = 0
end

function request()
  at = at % #bodies + 1
  return bodies[at]
end

function done(summary, latency, requests)
  local errors = summary.errors
  print(string.format("RESULT %d %d %.3f %.3f %.3f %d", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(95) / 1000, latency:percentile(99) / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
