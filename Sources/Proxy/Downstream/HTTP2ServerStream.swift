// What HTTP/2 keeps of one stream of a client's connection.

import MillraceEngine
import Transport

/// What HTTP/2 keeps of one request and its response.
struct HTTP2ServerStream: ~Copyable {
  /// The exchange that it belongs to.
  var key = ExchangeKey(slot: 0, generation: 0)
  /// It is in `HTTP2Connection.ready`.
  var isReady = false
  /// Place of the stream in its session; -1: the session has forgotten it.
  var place: Int32 = -1
  /// Its number on the wire.
  var id: UInt32 = 0
  /// END_STREAM has been written behind the response.
  var hasWrittenEnd = false
  /// The response is the proxy's own.
  var isLocal = false
  /// The response is followed by RST_STREAM: the request broke a rule.
  var isMalformed = false
  /// The request is a call of gRPC, which is told of failures in its own way.
  var isGRPC = false
  /// It is an extended CONNECT (RFC 8441): what follows the head is not the request's, but the tunnel's.
  var isConnect = false
  /// It has been accepted: the stream is open until both sides have ended.
  var isTunnel = false
  /// The request's end has come, behind what is in `input`.
  var hasEnded = false
  /// It waits for a window to open.
  var awaitsWindow = false
  /// Bytes of DATA in what is held, for which a window was taken.
  var reserved = 0
  /// Bytes of content that the response has still to bring; -1: unknown.
  var remaining: Int64 = -1
  /// Request content that the server could not take yet: a stream's window bounds it.
  var input = InputBuffer()
  /// The trailers behind it, as lines of HTTP/1.1.
  var trailers: BufferSlice?
  /// When the client has had its time; Int64.max: it owes nothing.
  var deadline = Int64.max

  /// The response waits for its client's window.
  mutating func wait(until deadline: Int64) {
    awaitsWindow = true
    self.deadline = deadline
  }
}
