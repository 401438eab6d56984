// The words of HTTP/2 (RFC 9113) that have numbers: error codes, and how a session ends for
// reasons of the library below. The machine itself is `HTTP2Session`.

/// An error code of RST_STREAM and GOAWAY (RFC 9113, section 7). A number that is not listed is
/// kept as it came.
public struct HTTP2ErrorCode: RawRepresentable, Equatable, Sendable {
  public let rawValue: UInt32

  @inline(__always)
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let noError = HTTP2ErrorCode(rawValue: 0)
  public static let protocolError = HTTP2ErrorCode(rawValue: 1)
  public static let internalError = HTTP2ErrorCode(rawValue: 2)
  public static let flowControlError = HTTP2ErrorCode(rawValue: 3)
  public static let settingsTimeout = HTTP2ErrorCode(rawValue: 4)
  public static let streamClosed = HTTP2ErrorCode(rawValue: 5)
  public static let frameSizeError = HTTP2ErrorCode(rawValue: 6)
  public static let refusedStream = HTTP2ErrorCode(rawValue: 7)
  public static let cancel = HTTP2ErrorCode(rawValue: 8)
  public static let compressionError = HTTP2ErrorCode(rawValue: 9)
  public static let connectError = HTTP2ErrorCode(rawValue: 10)
  public static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 11)
  public static let inadequateSecurity = HTTP2ErrorCode(rawValue: 12)
  public static let http11Required = HTTP2ErrorCode(rawValue: 13)

  /// The name in logs and reports; stable.
  public var label: StaticString {
    switch rawValue {
    case 0: "no_error"
    case 1: "protocol_error"
    case 2: "internal_error"
    case 3: "flow_control_error"
    case 4: "settings_timeout"
    case 5: "stream_closed"
    case 6: "frame_size_error"
    case 7: "refused_stream"
    case 8: "cancel"
    case 9: "compression_error"
    case 10: "connect_error"
    case 11: "enhance_your_calm"
    case 12: "inadequate_security"
    case 13: "http_1_1_required"
    default: "unknown"
    }
  }
}

/// Why a session can go no further. What the peer must be told, if anything, is in its output.
public enum HTTP2Failure: Error, Equatable, Sendable {
  /// The first bytes are not the preface (RFC 9113, section 3.4): the peer speaks something else.
  case notHTTP2
  /// The peer floods: more settings, pings or resets than a sane one sends.
  case flooded
  /// Memory ran out.
  case outOfMemory
  /// The session ended earlier, and its GOAWAY has been given out.
  case over
  /// The library refused for a reason that is none of the above; its own code.
  case library(Int32)

  /// The name in logs and reports; stable.
  public var label: StaticString {
    switch self {
    case .notHTTP2: "not_http2"
    case .flooded: "flooded"
    case .outOfMemory: "out_of_memory"
    case .over: "session_over"
    case .library: "library"
    }
  }
}
