// A connection to a server of an upstream: idle in its worker's pool, or serving one exchange.

import Glibc
import HTTP1
import MillraceEngine
import Transport

enum UpstreamPhase: UInt8 {
  case connecting
  /// The TLS handshake.
  case handshaking
  case idle
  /// Taken from the pool in this turn: its request leaves when all that has arrived was looked at.
  case assigned
  /// A request is on its way or its response is.
  case busy
}

/// What a slot has.
enum UpstreamKind: UInt8 {
  case none
  /// A connection for one exchange at a time.
  case http1
  /// A connection of HTTP/2: it serves no exchange itself, its streams do.
  case http2
  /// A connection that is being made for one exchange, in the protocol that its server will choose.
  case dialed
  /// One of its streams: to its exchange it is a connection, and has no socket.
  case stream
}

struct UpstreamConnection: ~Copyable {
  var transport: Transport
  var kind = UpstreamKind.http1
  let slot: UInt32
  /// Index of the upstream in `LivePlan`, and the server's place in it.
  var group: Int32
  var server: Int32
  var phase = UpstreamPhase.connecting
  /// The address that it connects, or is connected, to.
  var choice = AddressChoice(index: 0, left: 0)
  /// Slot of the exchange that it serves, or -1.
  var exchange: Int32 = -1
  /// True once a response was read whole here: the next request reuses the connection.
  var isReused = false
  /// Since when it is idle, or was when it was last taken from the pool.
  var idleSince: Int64 = 0
  /// For how long the server keeps it between requests, as far as it said so (Keep-Alive).
  var keepAlive = Int64.max
  var connectStart: Int64 = 0
  /// What is to be sent and has not gone to the transport: a request, or a part of one.
  var outgoing = SendBuffer()
  /// Resumable search for a head's end in unread bytes.
  var scanner = HeadScanner()
  var isScanning = false
  var http2 = HTTP2ClientStream()
  /// HTTP/1.1 is spoken on it whatever its server would choose: it is for a tunnel.
  var offersHTTP1 = false
  /// It is in the list of connections of HTTP/2 of its server.
  var isShared = false
  /// Neighbours in the idle list of its server, or in that one; -1 at the ends.
  var idleNext: Int32 = -1
  var idlePrevious: Int32 = -1

  init(socket: Descriptor, slot: UInt32, group: Int32, server: Int32) {
    transport = Transport(socket: socket, connecting: true)
    self.slot = slot
    self.group = group
    self.server = server
  }
}

typealias UpstreamPointer = UnsafeMutablePointer<UpstreamConnection>

extension UnsafeMutablePointer where Pointee == UpstreamConnection {
  @inline(__always)
  var transport: UnsafeMutablePointer<Transport> {
    // SAFETY: the transport is the first stored property, and the slot does not move.
    UnsafeMutableRawPointer(self).assumingMemoryBound(to: Transport.self)
  }
}
