-- Makes wrk print its totals as one JSON line, exact to the microsecond. Only `done` is defined, so
-- nothing of this runs for a request.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,'
      .. '"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50.0), latency:percentile(99.0),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
