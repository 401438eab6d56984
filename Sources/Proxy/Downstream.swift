// A connection from a client: its transport, its TLS session, and the phase of its current
// request. At most one exchange is active on it; HTTP/2 will have many.

import Glibc
import HTTP1
import MillraceEngine
import Transport

/// What a downstream connection waits for, which decides what its deadline means.
enum DownstreamPhase: UInt8 {
  /// The TLS handshake or the first head.
  case head
  /// The next request on a kept connection.
  case idle
  /// Request content.
  case body
  /// The upstream's answer: the deadline is the upstream's business.
  case response
  /// The peer's end after ours.
  case linger
}

struct Downstream: ~Copyable {
  var transport: Transport
  let slot: UInt32
  /// Its listener's index in `LivePlan`.
  var listener: Int32
  var phase = DownstreamPhase.head
  /// Slot of the active exchange, or -1.
  var exchange: Int32 = -1
  /// Resumable search for a head's end in held bytes.
  var scanner = HeadScanner()
  var isScanning = false
  /// True when no further request will be read.
  var closeAfterResponse = false
  /// Since when the next request waits for room in the audit log; 0: it does not.
  var auditWaitSince: Int64 = 0
  /// How much room it waits for, in bytes.
  var auditWaitBytes = 0
  /// True when the close is to wait for the peer's end; see `closeDownstream`.
  var lingers = false
  /// Bytes dropped while lingering.
  var lingered = 0
  /// Length of the client's address text.
  var clientLength = 0
  /// True once more had come than could be used: see `pauseInput`.
  var isPaced = false

  /// False too once plain HTTP was found on a TLS port: what leaves then is plain.
  @inline(__always) var isTLS: Bool { transport.tls != nil }

  init(socket: Descriptor, slot: UInt32, listener: Int32) {
    transport = Transport(socket: socket)
    self.slot = slot
    self.listener = listener
  }
}

typealias DownstreamPointer = UnsafeMutablePointer<Downstream>
