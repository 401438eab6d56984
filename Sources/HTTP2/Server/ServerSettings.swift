// What the two sides of a connection announce (RFC 9113 6.5.2): ours once, at its beginning; the
// client's whenever it likes.

/// What a server's session is made with.
public struct HTTP2ServerOptions: Sendable {
  /// Streams that a client may have open (SETTINGS_MAX_CONCURRENT_STREAMS), 1...16384.
  public var streams = 128
  /// Bytes of content that it may send on a stream before some are consumed, up to 2³¹ − 1.
  public var streamWindow = 65_535
  /// The same for the connection, from 65,535.
  public var connectionWindow = 1_048_576
  /// Bytes of a head: names, values and 32 per field (SETTINGS_MAX_HEADER_LIST_SIZE).
  public var headBytes = 16_384

  public init() {}
}

/// A setting that this session knows.
enum SettingID {
  static var headerTableSize: UInt16 { 1 }
  static var enablePush: UInt16 { 2 }
  static var maxConcurrentStreams: UInt16 { 3 }
  static var initialWindowSize: UInt16 { 4 }
  static var maxFrameSize: UInt16 { 5 }
  static var maxHeaderListSize: UInt16 { 6 }
  static var enableConnectProtocol: UInt16 { 8 }
  static var noRFC7540Priorities: UInt16 { 9 }
}

/// What the client has announced.
struct PeerSettings: Equatable {
  static var windowMaximum: Int { 0x7FFF_FFFF }

  /// Bytes of DATA that a stream may send at its beginning.
  var initialWindow = 65_535
  /// Bytes of payload that a frame may have.
  var frameSize = FrameHeader.payloadMaximum
  /// Its decoder's dynamic table is smaller than the usual one: it waits for our word that we use none.
  var shrankTable = false

  /// Applies one setting. - Returns: the code of the connection error that it is, or nil.
  mutating func apply(_ id: UInt16, _ value: UInt32) -> HTTP2ErrorCode? {
    switch id {
    case SettingID.headerTableSize:
      if value < 4096 { shrankTable = true }
    case SettingID.enablePush:
      // A client's is 0 or 1, which makes no difference to a server that pushes nothing.
      if value > 1 { return .protocolError }
    case SettingID.initialWindowSize:
      guard value <= Self.windowMaximum else { return .flowControlError }
      initialWindow = Int(value)
    case SettingID.maxFrameSize:
      guard value >= 16_384, value <= 16_777_215 else { return .protocolError }
      frameSize = Int(value)
    case SettingID.enableConnectProtocol, SettingID.noRFC7540Priorities:
      if value > 1 { return .protocolError }
    default: break
    }
    return nil
  }
}

extension HTTP2ServerOptions {
  /// Bytes of the frames that a server's connection begins with.
  static var prefaceBytes: Int { FrameHeader.size + 5 * 6 + FrameHeader.size + 4 }

  /// Writes them: SETTINGS, and the rest of the connection's window.
  func writePreface(to room: UnsafeMutableRawPointer) -> Int {
    let entries: [5 of (UInt16, Int)] = [
      (SettingID.maxConcurrentStreams, streams), (SettingID.initialWindowSize, streamWindow),
      (SettingID.maxHeaderListSize, headBytes), (SettingID.enableConnectProtocol, 1),
      (SettingID.noRFC7540Priorities, 1),
    ]
    FrameHeader(.settings, stream: 0, length: entries.count * 6).write(to: room)
    var at = FrameHeader.size
    for i in 0..<entries.count {
      room.write(entries[i].0, at: at)
      room.write(UInt32(truncatingIfNeeded: entries[i].1), at: at + 2)
      at += 6
    }
    guard connectionWindow > 65_535 else { return at }
    return at
      + ControlFrame.writeWindowUpdate(0, connectionWindow - 65_535, to: room + at)
  }
}
