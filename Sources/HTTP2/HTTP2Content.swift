// Content on its way out: a pointer and a count, so that a gigabyte costs no memory, and the record
// that a session keeps of each of its streams.

/// Content that leaves on a stream. The bytes must stay until the stream is closed or the content
/// has drained.
public struct HTTP2Content: Sendable {
  // Sendable: the pointer is read only, by the session that it is given to.
  nonisolated(unsafe) let base: UnsafeRawPointer?
  /// Bytes at `base`, over and over again.
  let period: Int
  /// Where in the period the content begins.
  var offset: Int
  var remaining: Int
  let endsStream: Bool

  /// The bytes as they are.
  public init(_ bytes: UnsafeRawBufferPointer, endsStream: Bool = true) {
    self.init(repeating: bytes, count: bytes.count, endsStream: endsStream)
  }

  /// `count` bytes, made of `block` over and over again, from `offset` in it.
  public init(
    repeating block: UnsafeRawBufferPointer, from offset: Int = 0, count: Int,
    endsStream: Bool = true
  ) {
    // TRAP: the caller's own content, prepared before the first connection.
    precondition(count == 0 || block.count > 0, "an empty pattern")
    base = block.baseAddress
    period = max(block.count, 1)
    self.offset = offset % period
    remaining = count
    self.endsStream = endsStream
  }

  /// Whether nothing follows the head at all.
  @inline(__always) var isNone: Bool { remaining == 0 && endsStream }

  /// None: the head ends the stream.
  public static var none: HTTP2Content {
    HTTP2Content(UnsafeRawBufferPointer(start: nil, count: 0))
  }

  /// None yet: `HTTP2Session.supply` brings it.
  public static var later: HTTP2Content {
    HTTP2Content(UnsafeRawBufferPointer(start: nil, count: 0), endsStream: false)
  }
}

/// What a session knows of one of its streams.
struct StreamRecord {
  var stream: Int32
  var tag: UInt64
  var content: HTTP2Content
  /// The next free record, or -1.
  var nextFree: Int32
  /// True while nghttp2 has put the stream's data off.
  var isDeferred = false
  /// Whether the peer's message has been read to its end.
  var hasEnded = false
  /// Whether nghttp2 could not send the request's head.
  var wasRefused = false
  /// Whether a head of the message has been read.
  var hasHead = false
  /// Status of the head that is coming in.
  var status: UInt16 = 0
}

/// Records of streams at fixed addresses, which nghttp2 holds for us.
struct StreamRecords {
  private let base: UnsafeMutablePointer<StreamRecord>
  let capacity: Int
  private var free: Int32
  private(set) var inUse = 0
  /// Records that have been used at least once are those below: the others are untouched memory.
  private var touched: Int32 = 0

  init(capacity: Int) {
    self.capacity = capacity
    base = .allocate(capacity: capacity)
    free = -1
  }

  func release() { base.deallocate() }

  mutating func take(_ stream: Int32) -> UnsafeMutablePointer<StreamRecord>? {
    let index: Int32
    if free >= 0 {
      index = free
      free = base[Int(index)].nextFree
    } else if Int(touched) < capacity {
      index = touched
      touched += 1
    } else {
      return nil
    }
    inUse += 1
    let record = base + Int(index)
    record.initialize(
      to: StreamRecord(stream: stream, tag: 0, content: .none, nextFree: -1))
    return record
  }

  mutating func giveBack(_ record: UnsafeMutablePointer<StreamRecord>) {
    record.pointee.nextFree = free
    record.pointee.stream = 0
    free = Int32(truncatingIfNeeded: record - base)
    inUse -= 1
  }
}
