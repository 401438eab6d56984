// One connection of a load thread: what is in flight on its socket, the requests that wait for their
// responses, and how far the response that is being read has got. A slot keeps its place for the
// whole run; connections come and go in it.

import HTTP1
import HTTP2
import MillraceEngine
import Transport

/// How far a connection has got. Each step can only be followed by a later one, or by `ending`.
enum LoadPhase: UInt8 {
  /// No socket. A new connection is made when its time has come.
  case vacant
  case connecting
  /// TLS.
  case handshaking
  /// Requests can be sent.
  case open
  /// The last response is here; the server is given the time to close first.
  case finished
  /// Operations in flight are joined; then the descriptor is closed.
  case ending
}

/// What the next bytes of a response are.
enum ReadingState: UInt8 {
  case head
  case length
  case chunked
  case untilClose
}

/// A request that waits for its response.
struct Flight {
  /// Monotonic nanoseconds; in a closed loop the same as `sent`.
  var planned: Int64
  var sent: Int64
  var template: UInt32
  /// Whether it belongs to the counted part.
  var isCounted: Bool
}

/// What has been read of a response.
struct Answer {
  var status: UInt16 = 0
  var contentCount = 0
  /// Whether it differs from what the template expects.
  var isContentWrong = false
}

struct LoadConnection: ~Copyable {
  var transport = Transport(socket: .none)
  var phase = LoadPhase.vacant
  var reading = ReadingState.head
  /// True while it stands in its lane's queue.
  var isQueued = false
  /// True after the first result of a slot: a connection, or none.
  var hasReported = false
  /// Reads no faster than the plan says, on requests of its own.
  let isSlow: Bool
  let lane: Int32
  /// Requests that this connection may still send; .max: without end.
  var requestsLeft = Int.max

  /// Place of the oldest request in flight, and their number.
  var firstFlight: UInt32 = 0
  var flightCount: UInt32 = 0

  /// The response that is being read (HTTP/1.1).
  var answer = Answer()
  var keepsConnection = true
  var remaining: UInt64 = 0
  var decoder = BodyDecoder(.none)
  var scanner = HeadScanner()

  /// Content of a request that is still to be sent: its template, and how much has left. -1: none.
  var uploadTemplate: Int32 = -1
  var uploadSent = 0

  var http2: HTTP2Session?
  /// Output that waits for the send in flight; over TLS it is encrypted when it leaves.
  var plain = SendBuffer()
  var hasKeptSession = false

  /// When the connect began; monotonic nanoseconds.
  var connectStart: Int64 = 0
  /// When a connect, a handshake or a farewell has lasted too long; .max: never.
  var deadline = Int64.max
  /// Attempts in a row of which none came as far as a request.
  var attempts = 0
  /// Told by a slow reader's budget: when it reads again.
  var readAt: Int64 = 0

  init(lane: Int, isSlow: Bool) {
    self.lane = Int32(lane)
    self.isSlow = isSlow
  }
}

typealias LoadConnectionPointer = UnsafeMutablePointer<LoadConnection>

extension LoadConnection {
  /// Forgets what belonged to the connection that has ended.
  mutating func reset() {
    transport = Transport(socket: .none)
    phase = .vacant
    reading = .head
    firstFlight = 0
    flightCount = 0
    scanner = HeadScanner()
    uploadTemplate = -1
    uploadSent = 0
    http2 = nil
    plain.clear()
    hasKeptSession = false
    deadline = .max
  }
}
