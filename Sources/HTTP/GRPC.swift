// What of gRPC over HTTP/2 an intermediary has to know: which requests are calls, and how a call is told
// that it has failed (PROTOCOL-HTTP2.md and http-grpc-status-mapping.md of the gRPC project).

/// A status of gRPC by its number (statuscodes.md), of those that a proxy has a use for.
public enum GRPCStatus: UInt8, Sendable, CaseIterable {
  case unknown = 2
  case deadlineExceeded = 4
  case permissionDenied = 7
  case resourceExhausted = 8
  case unimplemented = 12
  case internalError = 13
  case unavailable = 14
  case unauthenticated = 16

  /// What clients take the status of a response for that has none of gRPC's.
  public init(ofHTTP status: UInt16) {
    self =
      switch status {
      case 400: .internalError
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .unimplemented
      case 429, 502, 503, 504: .unavailable
      default: .unknown
      }
  }

  /// Writes a `grpc-message` as it goes over the wire: all but printable ASCII percent-encoded, and "%"
  /// too. - Parameter room: three times the text.
  /// - Returns: the bytes written; what has no room is left out.
  public static func encodeMessage(
    _ text: UnsafeRawBufferPointer, into room: UnsafeMutableRawBufferPointer
  ) -> Int {
    let digits: StaticString = "0123456789ABCDEF"
    var count = 0
    for byte in text {
      if byte >= 0x20 && byte <= 0x7E && byte != UInt8(ascii: "%") {
        guard count < room.count else { return count }
        room[count] = byte
        count += 1
      } else {
        guard count + 3 <= room.count else { return count }
        room[count] = UInt8(ascii: "%")
        room[count + 1] = digits.utf8Start[Int(byte >> 4)]
        room[count + 2] = digits.utf8Start[Int(byte & 0xF)]
        count += 3
      }
    }
    return count
  }

  /// Whether a content type is that of a call: `application/grpc` with a message format behind "+", with
  /// parameters, or alone. gRPC-Web is another protocol.
  public static func isContentType(_ value: UnsafeRawBufferPointer) -> Bool {
    let type: StaticString = "application/grpc"
    let length = type.utf8CodeUnitCount
    guard value.count >= length, let base = value.baseAddress,
      ByteClass.equalFolded(base, type, count: length)
    else { return false }
    if value.count == length { return true }
    switch value[length] {
    case UInt8(ascii: "+"), UInt8(ascii: ";"), UInt8(ascii: " "), UInt8(ascii: "\t"): return true
    default: return false
    }
  }
}

extension RequestView {
  /// Whether the request is a call of gRPC.
  public var isGRPC: Bool {
    guard presentFields.has(.contentType), let line = first(.contentType) else { return false }
    return GRPCStatus.isContentType(slice(line.value))
  }
}
