// A client's connection as the origin sees it: what is in flight in each direction, what came too
// early, which protocol it speaks, and how far the answer of the moment has got.

import HTTP1
import HTTP2
import MillraceEngine
import Transport

/// What an HTTP/1.1 connection is doing, and what its timer means.
enum OriginPhase: UInt8 {
  /// Waits for a request's head.
  case head
  /// Reads a request's content.
  case content
  /// The answer is not due yet.
  case waiting
  /// Content is leaving.
  case answering
  /// Says nothing more; `paused` tells whether it still reads.
  case mute
}

enum OriginProtocol: UInt8 {
  /// The first bytes will tell.
  case undecided
  case http1, http2
}

struct OriginConnection: ~Copyable {
  var transport: Transport
  let slot: UInt32
  /// In the order in which the process accepted.
  let number: UInt64
  var requests: UInt64 = 0
  /// What leaves next; over TLS it is encrypted first.
  var plain = SendBuffer()
  var speaks: OriginProtocol
  let usesTLS: Bool
  var http2: HTTP2Session?
  /// The first of its streams, or -1.
  var firstStream: Int32 = -1
  /// Whether the session kept output back because the send in flight is full.
  var hasMore = false
  /// Counts armings of the timer: an entry of another one is stale.
  var timer: UInt32 = 0

  // The HTTP/1.1 exchange.
  var phase = OriginPhase.head
  var decoder: BodyDecoder?
  var answer = OriginAnswer()
  var isHead = false
  var closeAfter = false
  /// Bytes of content that have not been put into a frame.
  var remaining = 0
  /// Where in the content the next byte is.
  var offset = 0
  /// What the answer's content is to be followed by.
  var ending = OriginEnding.keep
  /// Whether the answer's content is in chunks.
  var isChunked = false
  /// Whether the client speaks HTTP/1.0.
  var isOld = false
  /// Whether the request's content is over `OriginLimits.echoBytes`.
  var isTooLarge = false
  /// Content that comes back.
  var echo = InputBuffer()
  /// When the rate allows the next piece.
  var nextPiece: Int64 = 0

  init(socket: Descriptor, slot: UInt32, number: UInt64, usesTLS: Bool) {
    transport = Transport(socket: socket)
    self.slot = slot
    self.number = number
    self.usesTLS = usesTLS
    speaks = .undecided
  }
}

typealias OriginConnectionPointer = UnsafeMutablePointer<OriginConnection>

/// What follows an answer's content.
enum OriginEnding: UInt8 {
  /// The next request, or an orderly close where one was agreed.
  case keep
  case close
  case reset
  /// Nothing, for ever.
  case hang
}

/// A stream of HTTP/2: one exchange.
struct OriginStream: ~Copyable {
  let connection: UInt32
  let slot: UInt32
  let stream: Int32
  var answer: OriginAnswer
  var isHead = false
  var echo = InputBuffer()
  /// Bytes of content that have not been supplied, where it leaves piece by piece.
  var remaining = 0
  var offset = 0
  var ending = OriginEnding.keep
  /// Whether the head of the answer has been given out.
  var hasAnswered = false
  var isTooLarge = false
  /// Its neighbours among the connection's streams, or -1.
  var next: Int32 = -1
  var previous: Int32 = -1

  init(connection: UInt32, slot: UInt32, stream: Int32, answer: OriginAnswer) {
    self.connection = connection
    self.slot = slot
    self.stream = stream
    self.answer = answer
  }
}
