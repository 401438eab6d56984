// What a session tells: plain values in a ring that is allocated once. A value holds no reference;
// where it speaks of bytes, they are the caller's input or the session's arena, and it says until
// when they are there.

/// Something that the peer did, or that became of a stream.
public struct HTTP2Event: Sendable {
  public enum Kind: UInt8, Sendable {
    /// A request's or response's head; an interim response (1xx) is one too. `status` is the
    /// response's status code, 0 in a request. Read the fields with `HTTP2Session.head`.
    case head
    /// A head over the limits: its fields are not there. Its stream is still open; answer it (431),
    /// or reset it.
    case headTooLarge
    /// Trailer fields, to be read as a head's.
    case trailers
    /// Content: `count` bytes at `bytes`, inside the input that was given to `receive`, valid until
    /// the next call of `receive`.
    case content
    /// The peer has sent all of its message.
    case end
    /// The content that was given with `endsStream` false has left; the stream waits for `supply`.
    case drained
    /// The stream is over, the last event of it. `code` is why; `noError` after a whole exchange.
    case closed
    /// The peer will open no more streams (client: accept none above `lastStream`); `code` is why.
    case goAway
    /// The peer's settings arrived.
    case settings
  }

  public var kind: Kind
  /// The field `status`, or 0.
  public var status: UInt16 = 0
  /// Whether nothing follows this head: no content will come.
  public var endsStream = false
  /// The stream, 0 for the connection.
  public var stream: Int32
  /// What the caller named the stream with; 0 until then.
  public var tag: UInt64 = 0
  public var code = HTTP2ErrorCode.noError
  /// Of `goAway`: the last stream that the peer has dealt with or will.
  public var lastStream: Int32 = 0
  /// Bytes of content, or of the head in the arena.
  public var count = 0
  /// Fields of a head.
  public var fieldCount: UInt16 = 0
  /// Of a head: where it begins in the arena.
  var headStart = 0
  private var address: UInt = 0

  init(_ kind: Kind, stream: Int32, tag: UInt64 = 0) {
    self.kind = kind
    self.stream = stream
    self.tag = tag
  }

  /// The content; valid until the next call of `receive`.
  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: UnsafeRawPointer(bitPattern: address), count: count)
  }

  @inline(__always)
  mutating func setBytes(_ start: UnsafeRawPointer?, _ count: Int) {
    address = UInt(bitPattern: start)
    self.count = count
  }
}

/// A ring of events, never grown.
struct EventQueue {
  private let storage: UnsafeMutablePointer<HTTP2Event>
  private let mask: Int
  private var head = 0
  private var tail = 0

  /// - Parameter atLeast: events that fit; rounded up to a power of two.
  init(atLeast: Int) {
    var capacity = 16
    while capacity < atLeast { capacity *= 2 }
    storage = .allocate(capacity: capacity)
    mask = capacity - 1
  }

  func release() { storage.deallocate() }

  @inline(__always) var room: Int { mask + 1 - (tail - head) }
  @inline(__always) var isEmpty: Bool { head == tail }

  /// False when there is no room: a bug of the feeding, which the session ends with.
  @inline(__always)
  mutating func append(_ event: HTTP2Event) -> Bool {
    guard room > 0 else { return false }
    (storage + (tail & mask)).initialize(to: event)
    tail += 1
    return true
  }

  @inline(__always)
  mutating func popFirst() -> HTTP2Event? {
    guard head != tail else {
      // Start again at the first place, so that a busy session stays on a few hot lines.
      head = 0
      tail = 0
      return nil
    }
    let event = storage[head & mask]
    head += 1
    return event
  }
}
