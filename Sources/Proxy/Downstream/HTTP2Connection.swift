// What HTTP/2 keeps of a client's connection, and of one of its streams. Frames of all streams leave
// through one buffer, in the order in which they were put there; whose bytes a send has is noted beside
// it, so that each exchange hears of its own.

import HTTP2
import MillraceEngine
import Transport

/// An exchange that may have ended when it is looked at again.
struct ExchangeKey: Equatable {
  let slot: UInt32
  let generation: UInt32
}

/// Bytes of one exchange among those of a connection.
struct StreamBytes {
  let key: ExchangeKey
  var count: Int
}

struct HTTP2Connection: ~Copyable {
  var session: HTTP2ServerSession
  /// Frames that wait for the transport, as plaintext.
  var outgoing = SendBuffer()
  /// Exchanges whose bytes are in `outgoing`, in what the transport has still to send, and in the send
  /// in flight.
  var queued: [StreamBytes] = []
  var waiting: [StreamBytes] = []
  var flying: [StreamBytes] = []
  /// Exchanges with output for which there was no room.
  var ready: [ExchangeKey] = []
  /// Slots of all exchanges of the connection.
  var exchanges: [UInt32] = []
  /// No stream is accepted any more: the connection ends with the last one.
  var isEnding = false
  /// When it accepts no more streams, because the worker drains; Int64.max: it does not.
  var refusesAt = Int64.max
  /// What is to be sent cannot be: the exchanges are told at the end of the turn.
  var isLost = false
  /// It closes as soon as what there is has been handed over.
  var isClosing = false
  /// Input is kept until the session's own frames have left.
  var isBlocked = false

  init(session: consuming HTTP2ServerSession) { self.session = session }

  /// The transport has taken what was in `outgoing`.
  mutating func handedOver() {
    waiting.append(contentsOf: queued)
    queued.removeAll(keepingCapacity: true)
  }

  /// The transport has begun to send what it had.
  mutating func tookOff() {
    swap(&waiting, &flying)
    waiting.removeAll(keepingCapacity: true)
  }
}

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
  /// The response is followed by RST_STREAM: the request broke a rule.
  var isMalformed = false
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
