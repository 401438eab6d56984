// A client's connection as the origin sees it: what is in flight in each direction, what came too
// early, which protocol it speaks, and how far the answer of the moment has got.

import Glibc
import HTTP1
import HTTP2
import MillraceEngine
import TLS

/// How far a connection's end has got; each step requires the one before.
enum OriginClosing: UInt8 {
  case open
  /// Nothing more is read as requests; what is to be sent still leaves.
  case flushing
  /// Our side is shut down; the client's end is awaited, so that it reads all before it sees it.
  case lingering
  /// A reset follows, a moment after what was sent.
  case resetting
  /// Operations in flight are being joined; then the descriptor is closed.
  case joining
}

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
  let socket: Descriptor
  let slot: UInt32
  /// In the order in which the process accepted.
  let number: UInt64
  var requests: UInt64 = 0
  /// True exactly while a receive is in flight.
  var receiving = false
  /// True while the receive in flight is being stopped.
  var stopping = false
  /// True while no more input is wanted.
  var paused = false
  /// True after end of stream or an error of the receive.
  var readClosed = false
  /// True exactly while a send is in flight.
  var sending = false
  /// What leaves next, on the wire.
  var wire: SendFrame?
  var wireBytes = 0
  /// What leaves after it; over TLS it is encrypted first.
  var plain: SendFrame?
  var plainBytes = 0
  /// Input that could not be used yet.
  var held = OriginBytes()
  var closing = OriginClosing.open
  var reset = false
  var speaks: OriginProtocol
  var tls: TLSSession?
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
  var echo = OriginBytes()
  /// When the rate allows the next piece.
  var nextPiece: Int64 = 0

  init(socket: Descriptor, slot: UInt32, number: UInt64, usesTLS: Bool) {
    self.socket = socket
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
  var echo = OriginBytes()
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

/// Bytes kept for later, in one growing piece of cold memory.
struct OriginBytes: ~Copyable {
  private var memory: BufferSlice?
  private(set) var count = 0
  private var capacity = 0

  @inline(__always) var isEmpty: Bool { count == 0 }

  mutating func append<E: Engine & ~Copyable>(
    _ bytes: UnsafeRawBufferPointer, _ engine: inout E
  ) {
    guard bytes.count > 0 else { return }
    if count + bytes.count > capacity {
      let wanted = max(2048, max(capacity * 2, count + bytes.count))
      let larger = engine.coldMemory(wanted)
      if let old = memory.take() {
        memcpy(larger.mutableBytes.baseAddress!, old.bytes.baseAddress!, count)
      }
      memory = consume larger
      capacity = wanted
    }
    if let slice = memory.take() {
      memcpy(slice.mutableBytes.baseAddress! + count, bytes.baseAddress!, bytes.count)
      count += bytes.count
      memory = consume slice
    }
  }

  /// The bytes. Valid until the next mutation.
  mutating func peek() -> UnsafeRawBufferPointer {
    guard let slice = memory.take() else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let bytes = UnsafeRawBufferPointer(rebasing: slice.bytes[..<count])
    memory = consume slice
    return bytes
  }

  /// Forgets the first `used` bytes.
  mutating func drop(_ used: Int) {
    guard used > 0 else { return }
    if used == count { return clear() }
    if let slice = memory.take() {
      memmove(slice.mutableBytes.baseAddress!, slice.bytes.baseAddress! + used, count - used)
      count -= used
      memory = consume slice
    }
  }

  /// A slice of the bytes that keeps their memory alive.
  mutating func share(_ start: Int, _ length: Int) -> BufferSlice? {
    guard let slice = memory.take() else { return nil }
    let part = slice.subslice(start: start, count: length)
    memory = consume slice
    return part
  }

  /// Gives the memory back.
  mutating func clear() {
    memory = nil
    count = 0
    capacity = 0
  }
}
