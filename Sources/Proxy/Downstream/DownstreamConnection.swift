// A connection from a client: its transport, what its deadline means, and the state of the protocol
// that is spoken on it.

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

struct DownstreamConnection: ~Copyable {
  var transport: Transport
  let slot: UInt32
  /// Its listener, and the plans that it holds.
  var use: PlanUse
  var phase = DownstreamPhase.head
  var http1 = HTTP1ServerState()
  /// It is passed on as it is, once its first message has said where to.
  var awaitsHello = false
  /// Bytes that were looked at for that, each look anew.
  var helloWork = 0
  /// HTTP/2 is spoken: the state is in `HTTP2Server`.
  var isHTTP2 = false
  /// True when the close is to wait for the peer's end; see `Downstreams.close`.
  var lingers = false
  /// Bytes dropped while lingering.
  var lingered = 0
  /// Length of the client's address text.
  var clientLength = 0
  /// True once more had come than could be used: see `Downstreams.pauseInput`.
  var isPaced = false

  /// False too once plain HTTP was found on a TLS port: what leaves then is plain.
  @inline(__always) var isTLS: Bool { transport.tls != nil }

  /// Its listener's index in `LivePlan`.
  @inline(__always) var listener: Int32 { use.listener }

  /// - Parameter listener: its index in `LivePlan`, which is not held yet.
  init(socket: Descriptor, slot: UInt32, listener: Int32) {
    transport = Transport(socket: socket)
    self.slot = slot
    use = PlanUse(listener: listener, places: 0)
  }
}

/// What HTTP/1.1 keeps of a connection from a client: one exchange at a time, in the order of the
/// requests.
struct HTTP1ServerState {
  /// Slot of the exchange in progress, or -1.
  var exchange: Int32 = -1
  /// Resumable search for a head's end in unread bytes.
  var scanner = HeadScanner()
  var isScanning = false
  /// No request has come yet: the connection may still turn out to speak HTTP/2.
  var isFresh = true
  /// True when no further request will be read.
  var closeAfterResponse = false
}

/// The stream that an exchange came by: HTTP/1.1 has one per connection, numbered 0.
struct StreamReference {
  let connection: UInt32
  let stream: UInt32
}

typealias DownstreamPointer = UnsafeMutablePointer<DownstreamConnection>

extension UnsafeMutablePointer where Pointee == DownstreamConnection {
  @inline(__always)
  var transport: UnsafeMutablePointer<Transport> {
    // SAFETY: the transport is the first stored property, and the slot does not move.
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: Transport.self)
  }
}
