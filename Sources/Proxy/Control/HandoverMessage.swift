// What an old process and the new one that takes its place say to each other: one message per packet, each with
// a header of 12 bytes: "MRUP", the version of the protocol, the kind, the length of what follows; numbers are
// little-endian. Nothing of it is believed before it was read whole.
//
//   new  request                              who asks, and in which version
//   old  sockets (any number)                 descriptors, one byte of flags for each
//   old  offer                                how many sockets there were, ticket keys, the audit log's lock
//   new  ready                                which sockets it serves on
//   old  released                             it accepts no more: the sockets are the new one's
//   both failed                               why not; the last message of either side

/// One message.
struct HandoverMessage: Equatable, Sendable {
  enum Kind: UInt16 {
    case request = 1
    case sockets, offer, ready, released, failed
  }

  /// Another version is refused: old and new processes of different versions must not guess.
  static let version: UInt16 = 1
  static let headerBytes = 12
  static let payloadMaximum = 16_384
  static let packetMaximum = headerBytes + payloadMaximum
  /// Of the sockets of a process: listeners times workers.
  static let socketsMaximum = 4096
  private static let magic: [UInt8] = [0x4D, 0x52, 0x55, 0x50]

  let kind: Kind
  let payload: [UInt8]

  init(_ kind: Kind, _ payload: [UInt8] = []) {
    self.kind = kind
    self.payload = payload
  }

  /// Why the other side gives up. What is too long is cut.
  static func failed(_ reason: String) -> HandoverMessage {
    HandoverMessage(.failed, Array(reason.utf8.prefix(1024)))
  }

  /// What a failed message says.
  var reason: String {
    // From outside: nothing that could end a line of the log.
    String(
      decoding: payload.prefix(1024).map { $0 < 0x20 || $0 == 0x22 || $0 == 0x7F ? 0x3F : $0 },
      as: UTF8.self)
  }

  var bytes: [UInt8] {
    var writer = HandoverWriter()
    writer.bytes += Self.magic
    writer.number(Self.version)
    writer.number(kind.rawValue)
    writer.number(UInt32(truncatingIfNeeded: payload.count))
    return writer.bytes + payload
  }

  init(parsing bytes: [UInt8]) throws(HandoverFault) {
    var reader = HandoverReader(bytes)
    guard reader.take(Self.magic.count) == Self.magic, let version = reader.number(UInt16.self)
    else { throw HandoverFault("the message is not one of an upgrade") }
    guard version == Self.version else { throw HandoverFault.version(version) }
    guard let number = reader.number(UInt16.self), let length = reader.number(UInt32.self) else {
      throw HandoverFault("the message is cut short")
    }
    guard let kind = Kind(rawValue: number) else {
      throw HandoverFault("the message is of an unknown kind, \(number)")
    }
    guard length <= Self.payloadMaximum else {
      throw HandoverFault("the message has \(length) bytes, more than \(Self.payloadMaximum)")
    }
    guard let payload = reader.take(Int(length)), reader.isAtEnd else {
      throw HandoverFault("the message has another length than it says")
    }
    self.init(kind, payload)
  }
}

/// Why an upgrade does not go on.
public struct HandoverFault: Error, Equatable, CustomStringConvertible {
  public let description: String
  /// The other side has said so.
  let isTold: Bool

  init(_ description: String, isTold: Bool = false) {
    self.description = description
    self.isTold = isTold
  }

  static func version(_ version: UInt16) -> HandoverFault {
    HandoverFault(
      "the other process speaks version \(version) of the upgrade protocol, this one version "
        + "\(HandoverMessage.version); restart instead")
  }
}

/// What an old process gives along with its sockets.
struct HandoverOffer: Equatable, Sendable {
  /// How many sockets came before.
  var sockets: Int
  /// Of `TicketKeys`.
  var ticketKeys: [UInt8]
  /// The lock on the audit log's directory comes along as a descriptor.
  var hasAuditLock: Bool
  /// The configuration's generation, for the log.
  var generation: UInt32

  static let ticketKeysMaximum = 1024

  var payload: [UInt8] {
    var writer = HandoverWriter()
    writer.number(UInt32(truncatingIfNeeded: sockets))
    writer.number(generation)
    writer.bytes.append(hasAuditLock ? 1 : 0)
    writer.number(UInt16(truncatingIfNeeded: ticketKeys.count))
    return writer.bytes + ticketKeys
  }

  init(sockets: Int, ticketKeys: [UInt8], hasAuditLock: Bool, generation: UInt32) {
    self.sockets = sockets
    self.ticketKeys = ticketKeys
    self.hasAuditLock = hasAuditLock
    self.generation = generation
  }

  init(parsing payload: [UInt8]) throws(HandoverFault) {
    var reader = HandoverReader(payload)
    guard let sockets = reader.number(UInt32.self), let generation = reader.number(UInt32.self),
      let lock = reader.take(1)?.first, let length = reader.number(UInt16.self)
    else { throw HandoverFault("the offer is cut short") }
    guard sockets <= HandoverMessage.socketsMaximum else {
      throw HandoverFault(
        "\(sockets) sockets are offered, more than \(HandoverMessage.socketsMaximum)")
    }
    guard lock <= 1 else { throw HandoverFault("the offer has an unknown flag") }
    guard length <= Self.ticketKeysMaximum else {
      throw HandoverFault("the ticket keys have \(length) bytes")
    }
    guard let keys = reader.take(Int(length)), reader.isAtEnd else {
      throw HandoverFault("the offer has another length than it says")
    }
    self.init(
      sockets: Int(sockets), ticketKeys: keys, hasAuditLock: lock == 1, generation: generation)
  }
}

// MARK: Numbers

struct HandoverWriter {
  var bytes: [UInt8] = []

  mutating func number<N: FixedWidthInteger>(_ number: N) {
    withUnsafeBytes(of: number.littleEndian) { bytes += $0 }
  }
}

struct HandoverReader {
  private let bytes: [UInt8]
  private var at = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  var isAtEnd: Bool { at == bytes.count }

  /// - Returns: nil if there are fewer.
  mutating func take(_ count: Int) -> [UInt8]? {
    guard count <= bytes.count - at else { return nil }
    defer { at += count }
    return Array(bytes[at..<(at + count)])
  }

  mutating func number<N: FixedWidthInteger>(_ type: N.Type) -> N? {
    guard let taken = take(MemoryLayout<N>.size) else { return nil }
    return taken.reversed().reduce(0) { $0 << 8 | N($1) }
  }
}
