// Frames that a session owes its peer for what that sent: acknowledgements, resets, windows. The queue has
// a bound. When it is full no more input is used before some of it has left: a peer that makes us
// speak without reading is not read either.

/// A frame of the connection's own that waits to be written. GOAWAY and WINDOW_UPDATE are not among them:
/// the latest of each is made when there is room to write it.
struct ControlFrame: BitwiseCopyable {
  /// An error code, or the eight bytes of a PING as they came.
  var value: UInt64 = 0
  var stream: UInt32 = 0
  var type: UInt8
  var flags: UInt8 = 0
}

struct ControlQueue: ~Copyable {
  /// So many frames may wait before no more input is used, and one piece of input makes this many.
  private static var inputMaximum: Int { 60 }
  private static var burst: Int { 4 }

  /// Room for as many as wait on most connections, and for all once more did.
  private var frames: UnsafeMutablePointer<ControlFrame>
  private var room: Int
  private let capacity: Int
  private static var roomAtFirst: Int { 8 }
  private var first = 0
  private(set) var count = 0

  /// - Parameter streams: that may be open: each may be reset once, at any time, by the caller.
  init(streams: Int) {
    capacity = Self.inputMaximum + Self.burst + streams
    room = Self.roomAtFirst
    frames = .allocate(capacity: room)
  }

  deinit { frames.deallocate() }

  var isEmpty: Bool { count == 0 }
  /// Whether no more input should be used.
  @inline(__always) var isFull: Bool { count > Self.inputMaximum }

  mutating func push(_ frame: ControlFrame) {
    // TRAP: input is used only while the queue is not full, and makes `burst` frames at most; a stream's reset
    // by the caller is its last frame, and comes only behind its head, with which all that was here has left; a
    // PING of our own is asked for only while the queue is not full.
    precondition(count < capacity, "a control queue is full")
    if count == room { grow() }
    var place = first + count
    if place >= room { place -= room }
    (frames + place).initialize(to: frame)
    count += 1
  }

  private mutating func grow() {
    let place = UnsafeMutablePointer<ControlFrame>.allocate(capacity: capacity)
    for index in 0..<count {
      let old = first + index
      (place + index).initialize(to: frames[old < room ? old : old - room])
    }
    frames.deallocate()
    frames = place
    room = capacity
    first = 0
  }

  mutating func pop() -> ControlFrame? {
    guard count > 0 else { return nil }
    let frame = frames[first]
    first = first + 1 == room ? 0 : first + 1
    count -= 1
    return frame
  }
}

extension ControlFrame {
  static func settingsAck() -> ControlFrame {
    ControlFrame(type: FrameType.settings.rawValue, flags: FrameFlags.ack.rawValue)
  }

  var isSettingsAck: Bool { type == FrameType.settings.rawValue }

  /// - Parameter data: its eight bytes, as they came.
  static func pingAck(_ data: UInt64) -> ControlFrame {
    ControlFrame(value: data, type: FrameType.ping.rawValue, flags: FrameFlags.ack.rawValue)
  }

  static func ping(_ data: UInt64) -> ControlFrame {
    ControlFrame(value: data, type: FrameType.ping.rawValue)
  }

  static func reset(_ stream: UInt32, _ code: HTTP2ErrorCode) -> ControlFrame {
    ControlFrame(value: UInt64(code.rawValue), stream: stream, type: FrameType.rstStream.rawValue)
  }

  /// Bytes that any of these frames takes at most.
  static var frameMaximum: Int { FrameHeader.size + 8 }

  /// Writes the frame into room for `frameMaximum` bytes. - Returns: its length.
  func write(to room: UnsafeMutableRawPointer) -> Int {
    let type = FrameType(rawValue: self.type)
    let length = type == .settings ? 0 : type == .ping ? 8 : 4
    FrameHeader(type, FrameFlags(rawValue: flags), stream: stream, length: length).write(to: room)
    switch length {
    case 8: room.storeBytes(of: value, toByteOffset: FrameHeader.size, as: UInt64.self)
    case 4: room.write(UInt32(truncatingIfNeeded: value), at: FrameHeader.size)
    default: break
    }
    return FrameHeader.size + length
  }

  static func writeWindowUpdate(
    _ stream: UInt32, _ increment: Int, to room: UnsafeMutableRawPointer
  ) -> Int {
    FrameHeader(.windowUpdate, stream: stream, length: 4).write(to: room)
    room.write(UInt32(truncatingIfNeeded: increment), at: FrameHeader.size)
    return FrameHeader.size + 4
  }

  static func writeGoAway(
    last: UInt32, _ code: HTTP2ErrorCode, to room: UnsafeMutableRawPointer
  ) -> Int {
    FrameHeader(.goAway, stream: 0, length: 8).write(to: room)
    room.write(last, at: FrameHeader.size)
    room.write(code.rawValue, at: FrameHeader.size + 4)
    return FrameHeader.size + 8
  }
}
