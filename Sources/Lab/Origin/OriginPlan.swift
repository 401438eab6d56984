// What an origin does with requests, as one plain value: where it listens, what its answers look
// like, and how often they fail in which way. Flags are turned into it; the threads only read it.

public import MillraceEngine

/// An origin server for tests, demonstrations and comparisons.
public struct OriginPlan: Sendable {
  public var listeners: [OriginListener] = []
  /// Files of the certificate chain and its key, in PEM; both or none.
  public var certificatePath: String?
  public var keyPath: String?
  public var threads = 1
  /// Which engine the threads use; nil: io_uring where it works, otherwise epoll.
  public var engine: EngineKind?
  /// CPUs that the threads are pinned to, in order and over again; empty: none.
  public var processors: [Int] = []
  /// Connections at once, per thread; one more is reset.
  public var connections = 8192
  /// HTTP/2 streams at once on a connection.
  public var streams = 128
  /// Bytes of a request's head.
  public var headBytes = 65_536
  /// The status of an answer whose path asks for none.
  public var status: UInt16 = 200
  /// Bytes of content.
  public var size = Distribution.constant(128)
  /// Nanoseconds between the end of a request and its answer.
  public var delay = Distribution.constant(0)
  public var stall: OriginStall?
  /// Bytes of content per second; nil: as fast as the client takes them.
  public var bytesPerSecond: Int?
  /// Whether HTTP/1.1 answers are in chunks rather than with a length.
  public var isChunked = false
  /// Failures with the share of requests that they happen to, 0 to 1; together at most 1.
  public var faults: [(fault: OriginFault, share: Double)] = []
  /// Chooses sizes, delays and failures: the same seed gives the same answers to the same requests
  /// (see `OriginDraw`).
  public var seed: UInt64 = 1

  public init() {}
}

/// A place where an origin listens.
public struct OriginListener: Sendable {
  public var address: SocketAddress
  public var usesTLS: Bool

  public init(address: SocketAddress, usesTLS: Bool) {
    self.address = address
    self.usesTLS = usesTLS
  }
}

/// A pause of all answers, over and over again: those that are due in it leave at its end.
public struct OriginStall: Sendable, Equatable {
  public var pauseNanoseconds: Int64
  /// From the beginning of one pause to that of the next.
  public var everyNanoseconds: Int64

  public init(pauseNanoseconds: Int64, everyNanoseconds: Int64) {
    self.pauseNanoseconds = pauseNanoseconds
    self.everyNanoseconds = everyNanoseconds
  }

  /// When an answer leaves that is due at `moment`. - Parameter start: when the origin began; the
  /// pause is the last part of each period, so that it begins with serving.
  public func leave(_ moment: Int64, since start: Int64) -> Int64 {
    let phase = (moment - start) % everyNanoseconds
    return phase < everyNanoseconds - pauseNanoseconds
      ? moment : moment - phase + everyNanoseconds
  }
}

/// A way to fail a request.
public enum OriginFault: Equatable, Sendable {
  /// Answers as it should.
  case none
  /// Resets the connection instead of answering.
  case reset
  /// Resets the connection (HTTP/2: the stream) after half of the content.
  case resetContent
  /// Ends the connection (HTTP/2: the stream) in order after half of the content.
  case truncate
  /// Declares 16 bytes more than it sends, and then says nothing more.
  case short
  /// Sends 16 bytes more than it declares.
  case long
  /// Sends content at 1 KiB per second.
  case slow
  /// Sends bytes that are no head (HTTP/2: no frames), and ends the connection.
  case garbage
  /// Sends content in chunks without the last one (HTTP/2: without an end), and ends the connection.
  case unfinished
  /// Reads no more and never answers.
  case deaf
  /// Reads the request and never answers.
  case silent
  /// Resets the stream instead of answering; in HTTP/1.1 the connection.
  case resetStream
  /// Answers, and says that the connection ends: GOAWAY, in HTTP/1.1 `Connection: close`.
  case goAway
  /// Answers with this status.
  case status(UInt16)

  /// Bytes by which `short` and `long` are wrong.
  static let wrongBytes = 16
  /// Bytes per second of `slow`.
  static let slowBytesPerSecond = 1024

  /// The names in flags and paths, with what they mean.
  static let names: [(name: StaticString, fault: OriginFault)] = [
    ("reset", .reset), ("reset-content", .resetContent), ("truncate", .truncate),
    ("short", .short), ("long", .long), ("slow", .slow), ("garbage", .garbage),
    ("unfinished", .unfinished), ("deaf", .deaf), ("silent", .silent),
    ("rst-stream", .resetStream), ("goaway", .goAway),
  ]

  /// The fault of a name, or of a status from 400 to 599.
  public init?(_ text: UnsafeRawBufferPointer) {
    for (name, fault) in Self.names where text.spells(name) {
      self = fault
      return
    }
    guard let number = OriginText.decimal(text), number >= 400, number <= 599 else { return nil }
    self = .status(UInt16(number))
  }

  /// All names, for a message.
  public static var list: String {
    names.map { "\($0.name)" }.joined(separator: ", ") + ", or a status from 400 to 599"
  }
}
