// The protocol versions that this room speaks. Older ones are not listed because they are never
// negotiated: RFC 8996 forbids TLS 1.0 and 1.1.

import COpenSSL

/// A version of the TLS protocol.
public enum TLSVersion: UInt8, Sendable, Hashable, Comparable, BitwiseCopyable {
  /// TLS 1.2 (RFC 5246).
  case tls12
  /// TLS 1.3 (RFC 8446).
  case tls13

  public static func < (left: TLSVersion, right: TLSVersion) -> Bool {
    left.rawValue < right.rawValue
  }

  /// The name that logs and records carry, `TLSv1.2` or `TLSv1.3`.
  public var label: StaticString {
    switch self {
    case .tls12: "TLSv1.2"
    case .tls13: "TLSv1.3"
    }
  }

  /// The number on the wire, which is also OpenSSL's.
  var wireNumber: Int32 {
    switch self {
    case .tls12: TLS1_2_VERSION
    case .tls13: TLS1_3_VERSION
    }
  }
}
