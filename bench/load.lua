-- wrk's script: posts the images of the folder IMAGES in turn, and says what came of it as one line of JSON.
local requests = {}
local at = 0

function init()
  for path in io.popen('ls "' .. os.getenv("IMAGES") .. '"/*.jpg'):lines() do
    local file = io.open(path, "rb")
    requests[#requests + 1] = wrk.format("POST", nil, { ["Content-Type"] = "image/jpeg" }, file:read("*a"))
    file:close()
  end
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "refused": %d, "errors": %d, "p50_ms": %f, "p99_ms": %f, "max_ms": %f}\n',
    summary.requests, summary.duration / 1e6, summary.errors.status, failed,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3))
end
