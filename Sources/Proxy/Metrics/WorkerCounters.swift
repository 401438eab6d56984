// What a worker counts. Each worker writes only its own block, in memory that shares no cache
// line with another's.

import Glibc

/// Counters of one worker since its start.
// FIELDS: one plain number for each thing that is counted.
package struct WorkerCounters: Sendable {
  package var accepted = 0
  package var refused = 0
  /// Accepted connections whose packets another CPU than this worker's handled.
  package var acceptedElsewhere = 0
  /// Connections that were passed on to the worker of their device queue.
  package var handedOver = 0
  /// Requests that were refused because `limits.streams` were in progress.
  package var streamsRefused = 0
  package var requests = 0
  package var responses = 0
  package var badRequests = 0
  /// Field and trailer lines of requests that were dropped because a server could take their name
  /// for another, or for an underscore where the listener drops those.
  package var fieldsDropped = 0
  package var upstreamConnects = 0
  package var upstreamReuses = 0
  package var upstreamFailures = 0
  /// Pooled connections that proved useless before the request that they were given had left.
  package var upstreamStale = 0
  package var retries = 0
  package var timeouts = 0
  package var downstreamAborts = 0
  package var handshakes = 0
  package var handshakeFailures = 0
  /// TLS sessions that ended because their peer sent too many messages without data.
  package var tlsFloods = 0
  /// How often decrypting waited until the session's own output had left.
  package var tlsStalls = 0
  package var auditRejects = 0
  package var auditDrops = 0
  package var auditWaits = 0
  package var unansweredByAudit = 0
  /// Responses that were held for their end and had to begin without it.
  package var holdsExpired = 0
  /// Responses that were not held because the worker held too much.
  package var holdsRefused = 0
  package var framesExhausted = 0
  /// Plans that took the place of another, and those that had to wait for a place.
  package var plansInstalled = 0
  package var plansDelayed = 0
}
