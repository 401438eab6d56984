// One request and its response. It outlives neither of its two connections but belongs to none:
// HTTP/2 will hang many of them on one downstream connection.

import AuditLog
import Glibc
import HTTP
import HTTP1
import MillraceEngine
import Transport

/// Where an exchange is on its way; each step is reached once.
enum ExchangePhase: UInt8 {
  /// The request is being sent; no final response head has come.
  case request
  /// The response's head is known and being relayed.
  case response
  /// The whole response is with the downstream's transport, or in `held`.
  case complete
}

/// What an exchange waits for before `held` may leave.
enum AuditGate: UInt8 {
  case none
  /// The only record of the exchange.
  case exchange
  /// The record before the first byte of a streamed response.
  case begin
  /// The record before its last content.
  case end
}

struct Exchange: ~Copyable {
  let slot: UInt32
  let id: UInt64
  let downstream: UInt32
  /// Slot of the upstream connection, or -1.
  var upstream: Int32 = -1
  var group: Int32 = -1
  var server: Int32 = -1
  var phase = ExchangePhase.request
  let method: HTTPMethod
  let version: HTTPVersion
  let listener: Int32

  // Request.
  var requestBody: BodyDecoder
  let requestFraming: BodyFraming
  var requestComplete = false
  var requestBytes: UInt64 = 0
  /// True while request content waits for the upstream to take what it has.
  var requestBlocked = false
  /// Bytes of the replay copy in the exchange's scratch memory; 0: cannot be replayed.
  var replayLength = 0
  var attemptsLeft = 0

  // Response.
  var interimCount = 0
  var responseBody: BodyDecoder
  var status: UInt16 = 0
  var responseBytes: UInt64 = 0
  /// True when the server keeps its connection after this response.
  var upstreamPersists = false
  /// True when content leaves in chunks.
  var chunked = false
  /// True once a byte of the final response may have reached the transport.
  var committed = false
  /// True while the response may be held for its end; see `Worker.hold`.
  var mayBeHeld = false
  /// True while response content waits for the downstream to take what it has.
  var responseBlocked = false
  /// The response, or its part that waits for the audit.
  var held = SendBuffer()

  // Audit.
  var requestPartLength = 0
  /// The request part when it does not fit the scratch memory.
  var requestPartCold: BufferSlice?
  var reservation = Reservation()
  var gate = AuditGate.none
  var gateSequence: UInt64 = 0
  /// True once a `begin` record was appended.
  var hasBegun = false
  /// True once a record was appended that says how the exchange was to end.
  var hasRecord = false
  var ending = Ending.complete

  // Times, monotonic nanoseconds.
  let started: Int64
  var connected: Int64 = 0
  var firstByte: Int64 = 0
  var connectMicroseconds: Int64 = -1

  init(
    slot: UInt32, id: UInt64, downstream: UInt32, listener: Int32, method: HTTPMethod,
    version: HTTPVersion, framing: BodyFraming, trailerLimits: HeadLimits, started: Int64
  ) {
    self.slot = slot
    self.id = id
    self.downstream = downstream
    self.listener = listener
    self.method = method
    self.version = version
    requestFraming = framing
    requestBody = BodyDecoder(framing, trailerLimits: trailerLimits)
    responseBody = BodyDecoder(.none, trailerLimits: trailerLimits)
    requestComplete = requestBody.isComplete
    self.started = started
  }
}

extension Exchange {
  /// Bytes of the response that have not been given to the transport.
  @inline(__always) var heldBytes: Int { held.count }
}

typealias ExchangePointer = UnsafeMutablePointer<Exchange>

/// Scratch memory of an exchange slot, beside the slab so that the exchange itself stays small.
enum ExchangeScratch {
  /// The request's part of its audit record; longer ones go to cold memory.
  static let requestPart = 1024
  /// The request as it was sent, for another try; longer ones are not tried again.
  static let replay = 3072
  static let bytes = requestPart + replay
}
