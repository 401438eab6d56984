// What the two sides of a connection announce (RFC 9113 6.5.2): ours once, at its beginning; the
// client's whenever it likes.

internal import Glibc

/// Which side of a connection a session is.
public enum HTTP2Side: UInt8, Sendable, BitwiseCopyable {
  case server, client
}

/// What a session is made with.
public struct HTTP2EndpointOptions: Sendable {
  public var side = HTTP2Side.server
  /// Streams that may be open: for a server SETTINGS_MAX_CONCURRENT_STREAMS, 1...16384.
  public var streams = 128
  /// Bytes of content that the peer may send on a stream before some are consumed, up to 2³¹ − 1.
  public var streamWindow = 65_535
  /// What that may grow to while content is passed on as it comes: 100 Mbit/s over 50 ms are 625 kB under
  /// way (docs/performance.md).
  public var streamWindowMaximum = 4_194_304
  /// Bytes by which all windows of streams together may have grown.
  public var growthMaximum = 8_388_608
  /// Bytes that the peer may send on all streams together: as much as these have, so that those whose
  /// content is not taken stop no other.
  public var connectionWindow = 128 * 65_535 + 8_388_608
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
  /// What it has announced last: a larger window is used once its acknowledgement is written, since the peer
  /// counts with the smaller one until then (RFC 9113 6.5.3).
  private(set) var announcedWindow = 65_535
  /// SETTINGS whose acknowledgement is still to be written.
  var unacknowledged = 0
  /// Windows have opened with an acknowledgement since the caller last asked.
  var hasOpened = false
  /// Bytes of payload that a frame may have.
  var frameSize = FrameHeader.payloadMaximum
  /// Streams that it lets us open (RFC 9113 6.5.2: without its word, any number).
  var streams = Int.max
  /// It takes an extended CONNECT (RFC 8441 3).
  var takesExtendedConnect = false
  /// Its decoder's dynamic table is smaller than the usual one: it waits for our word that we use none.
  var shrankTable = false

  /// Bytes by which windows open with the last acknowledgement.
  var pendingIncrease: Int { max(0, announcedWindow - initialWindow) }

  /// Applies one setting. - Returns: the code of the connection error that it is, or nil.
  /// - Parameter side: ours.
  mutating func apply(_ id: UInt16, _ value: UInt32, on side: HTTP2Side) -> HTTP2ErrorCode? {
    switch id {
    case SettingID.headerTableSize:
      if value < 4096 { shrankTable = true }
    case SettingID.enablePush:
      // A client's is 0 or 1, which makes no difference to a server that pushes nothing; a server's
      // is 0.
      if value > (side == .server ? 1 : 0) { return .protocolError }
    case SettingID.maxConcurrentStreams: streams = Int(value)
    case SettingID.initialWindowSize:
      guard value <= Self.windowMaximum else { return .flowControlError }
      announcedWindow = Int(value)
    case SettingID.maxFrameSize:
      guard value >= 16_384, value <= 16_777_215 else { return .protocolError }
      frameSize = Int(value)
    case SettingID.enableConnectProtocol:
      // What was allowed once stays allowed (RFC 8441 3).
      if value > 1 || takesExtendedConnect && value == 0 { return .protocolError }
      takesExtendedConnect = value == 1
    case SettingID.noRFC7540Priorities:
      if value > 1 { return .protocolError }
    default: break
    }
    return nil
  }
}

extension HTTP2EndpointOptions {
  /// What a client says first (RFC 9113 3.4).
  static var clientPreface: StaticString { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" }

  /// Bytes that a connection begins with, at most.
  static var prefaceBytes: Int {
    clientPreface.utf8CodeUnitCount + FrameHeader.size + 5 * 6 + FrameHeader.size + 4
  }

  /// Writes them: a client's preface, SETTINGS, and the rest of the connection's window.
  func writePreface(to room: UnsafeMutableRawPointer) -> Int {
    let isServer = side == .server
    let entries: [5 of (UInt16, Int)] = [
      isServer ? (SettingID.maxConcurrentStreams, streams) : (SettingID.enablePush, 0),
      (SettingID.initialWindowSize, streamWindow), (SettingID.maxHeaderListSize, headBytes),
      // A client has no use for it, and says so.
      (SettingID.enableConnectProtocol, isServer ? 1 : 0), (SettingID.noRFC7540Priorities, 1),
    ]
    var at = 0
    if side == .client {
      let preface = Self.clientPreface
      memcpy(room, preface.utf8Start, preface.utf8CodeUnitCount)
      at = preface.utf8CodeUnitCount
    }
    FrameHeader(.settings, stream: 0, length: entries.count * 6).write(to: room + at)
    at += FrameHeader.size
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
