// The host part of an address and of a route: IPv4 and IPv6 in canonical text, and host names by
// the letters that DNS names are written with. Owns the spelling only; whether a name exists is
// nobody's business here.

import Glibc

extension EndpointAddress {
  /// A host name of at most 253 characters in labels of at most 63 (RFC 1035, section 2.3.4;
  /// 253 is what 255 octets on the wire leave).
  static let hostBytesMaximum = 253
  static let labelBytesMaximum = 63

  static func canonicalHost(_ host: String, in text: String) throws(ParseError) -> String {
    if let address = canonicalIPv6(host) { return address }
    if isIPv4(host) { return host }
    if let problem = hostNameProblem(host) {
      throw ParseError(message: "is \(quoted(text)), and \(problem)", hint: "write \(forms)")
    }
    return lowercased(host)
  }

  /// What keeps a text from being a host name; nil if it is one. Four numbers are no name.
  static func hostNameProblem(_ host: String) -> String? {
    let bytes = Array(host.utf8)
    if bytes.isEmpty { return "the host is empty" }
    if bytes.count > hostBytesMaximum {
      return "the host has \(bytes.count) characters, more than \(hostBytesMaximum)"
    }
    if bytes.contains(where: { $0 >= 0x80 }) {
      return "the host has non-ASCII characters (use its ASCII form, which starts with xn--)"
    }
    for byte in bytes where !isHostByte(byte) {
      return "the host contains the invalid character \(quoted(String(UnicodeScalar(byte))))"
    }
    let labels = bytes.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    if labels.last?.isEmpty == true { return "the host ends in a dot" }
    for label in labels {
      if label.isEmpty { return "the host starts with a dot or has two dots in a row" }
      if label.count > labelBytesMaximum {
        return "the host has a label of \(label.count) characters, more than \(labelBytesMaximum)"
      }
      if label.first == UInt8(ascii: "-") || label.last == UInt8(ascii: "-") {
        return "the host has a label that starts or ends with a hyphen"
      }
    }
    // RFC 1123, section 2.1: the last label of a name is never all digits, so that an address and
    // a name can be told apart.
    if labels[labels.count - 1].allSatisfy({ isDigit($0) }) {
      return "\(quoted(host)) is not a valid IPv4 address"
    }
    return nil
  }

  static func isIPv4(_ text: String) -> Bool {
    var address = in_addr()
    return !hasControl(text) && inet_pton(AF_INET, text, &address) == 1
  }

  /// The canonical text of an IPv6 address (RFC 5952), nil if `text` is none.
  static func canonicalIPv6(_ text: String) -> String? {
    var address = in6_addr()
    guard !hasControl(text), inet_pton(AF_INET6, text, &address) == 1 else { return nil }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) {
      buffer in
      // SAFETY: the buffer holds INET6_ADDRSTRLEN bytes, which every IPv6 address fits with its
      // terminating zero, so inet_ntop cannot fail and the text is terminated.
      guard let base = buffer.baseAddress,
        inet_ntop(AF_INET6, &address, base, socklen_t(INET6_ADDRSTRLEN)) != nil
      else { return nil }
      return String(cString: base)
    }
  }
}
