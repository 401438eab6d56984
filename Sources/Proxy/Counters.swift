// What a worker counts. Each worker writes only its own block, in memory that shares no cache
// line with another's.

import Glibc

/// Counters of one worker since its start.
struct WorkerCounters {
  var accepted = 0
  var refused = 0
  /// Accepted connections whose packets another CPU than this worker's handled.
  var acceptedElsewhere = 0
  var requests = 0
  var responses = 0
  var badRequests = 0
  var upstreamConnects = 0
  var upstreamReuses = 0
  var upstreamFailures = 0
  var retries = 0
  var timeouts = 0
  var downstreamAborts = 0
  var handshakes = 0
  var handshakeFailures = 0
  var auditRejects = 0
  var auditDrops = 0
  var auditWaits = 0
  var unansweredByAudit = 0
  var framesExhausted = 0
}
