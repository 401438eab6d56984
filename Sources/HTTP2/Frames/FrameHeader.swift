// The nine bytes that every frame begins with (RFC 9113 4.1), and the numbers that stand in them.

/// The type of a frame. Types that are not listed are legal and ignored (RFC 9113 4.1).
struct FrameType: RawRepresentable, Equatable {
  let rawValue: UInt8

  static var data: FrameType { FrameType(rawValue: 0) }
  static var headers: FrameType { FrameType(rawValue: 1) }
  static var priority: FrameType { FrameType(rawValue: 2) }
  static var rstStream: FrameType { FrameType(rawValue: 3) }
  static var settings: FrameType { FrameType(rawValue: 4) }
  static var pushPromise: FrameType { FrameType(rawValue: 5) }
  static var ping: FrameType { FrameType(rawValue: 6) }
  static var goAway: FrameType { FrameType(rawValue: 7) }
  static var windowUpdate: FrameType { FrameType(rawValue: 8) }
  static var continuation: FrameType { FrameType(rawValue: 9) }
  /// RFC 9218 7.1.
  static var priorityUpdate: FrameType { FrameType(rawValue: 16) }
}

/// Flags of a frame; those that a type does not define are ignored.
struct FrameFlags: Equatable {
  let rawValue: UInt8

  static var none: FrameFlags { FrameFlags(rawValue: 0) }
  /// DATA, HEADERS.
  static var endStream: FrameFlags { FrameFlags(rawValue: 0x1) }
  /// SETTINGS, PING.
  static var ack: FrameFlags { FrameFlags(rawValue: 0x1) }
  /// HEADERS, CONTINUATION.
  static var endHeaders: FrameFlags { FrameFlags(rawValue: 0x4) }
  /// DATA, HEADERS.
  static var padded: FrameFlags { FrameFlags(rawValue: 0x8) }
  /// HEADERS.
  static var priority: FrameFlags { FrameFlags(rawValue: 0x20) }

  @inline(__always)
  func has(_ flag: FrameFlags) -> Bool { rawValue & flag.rawValue != 0 }
  @inline(__always)
  static func | (a: FrameFlags, b: FrameFlags) -> FrameFlags {
    FrameFlags(rawValue: a.rawValue | b.rawValue)
  }
}

/// What a frame begins with.
struct FrameHeader: Equatable {
  /// Bytes of it on the wire.
  static var size: Int { 9 }
  /// Bytes of payload that a peer may send as long as it was told nothing else (RFC 9113 4.2).
  static var payloadMaximum: Int { 16_384 }

  /// Bytes of payload, below 2²⁴.
  var length: Int
  var type: FrameType
  var flags: FrameFlags
  /// 31 bits; 0 is the connection.
  var stream: UInt32

  init(_ type: FrameType, _ flags: FrameFlags = .none, stream: UInt32, length: Int) {
    self.length = length
    self.type = type
    self.flags = flags
    self.stream = stream
  }

  /// Reads `size` bytes. The reserved bit is ignored.
  @inline(__always)
  init(reading bytes: UnsafeRawPointer) {
    let head = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    length = Int(truncatingIfNeeded: head >> 40)
    type = FrameType(rawValue: UInt8(truncatingIfNeeded: head >> 32))
    flags = FrameFlags(rawValue: UInt8(truncatingIfNeeded: head >> 24))
    let last = UInt32((bytes + 8).loadUnaligned(as: UInt8.self))
    stream = (UInt32(truncatingIfNeeded: head & 0xFF_FFFF) << 8 | last) & 0x7FFF_FFFF
  }

  /// Writes `size` bytes.
  @inline(__always)
  func write(to room: UnsafeMutableRawPointer) {
    let head =
      UInt64(truncatingIfNeeded: length) << 40 | UInt64(type.rawValue) << 32
      | UInt64(flags.rawValue) << 24 | UInt64(stream >> 8)
    room.storeBytes(of: head.bigEndian, as: UInt64.self)
    room.storeBytes(of: UInt8(truncatingIfNeeded: stream), toByteOffset: 8, as: UInt8.self)
  }
}

extension UnsafeRawPointer {
  /// A number of 32 bits at `offset`, in network byte order.
  @inline(__always)
  func readUInt32(at offset: Int) -> UInt32 {
    UInt32(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  func readUInt16(at offset: Int) -> UInt16 {
    UInt16(bigEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }
}

extension UnsafeMutableRawPointer {
  /// Writes a number of 32 bits at `offset`, in network byte order.
  @inline(__always)
  func write(_ value: UInt32, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
  }

  @inline(__always)
  func write(_ value: UInt16, at offset: Int) {
    storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
  }
}
