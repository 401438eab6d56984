// Who may ask. A UNIX socket's peers are known by their credentials. A TCP connection to a loopback address
// can be opened by any page in a browser of this machine: one whose name was made to resolve to it (DNS
// rebinding) sends its own name in Host, and any other one its origin in Origin or Sec-Fetch-Site.

import HTTP

/// Why a request is not served.
struct AdminRefusal: Error {
  let response: AdminResponse

  /// - Parameter isTCP: the connection is not a UNIX socket's.
  /// - Returns: nil for a request that may be served.
  init?(_ view: RequestView, isTCP: Bool) {
    if isTCP, !Self.isLoopback(String(decoding: view.host, as: UTF8.self)) {
      response = .problem(
        421, "Host is not a loopback address",
        hint: "ask 127.0.0.1, [::1] or localhost by that name")
      return
    }
    let authority = "http://" + String(decoding: view.authority, as: UTF8.self)
    for i in 0..<view.fieldCount {
      let line = view.field(i)
      let value = view.slice(line.value)
      if Self.isNamed(view, line, "origin"), !value.elementsEqual(authority.utf8) {
        response = .problem(403, "the request comes from another site", hint: "remove Origin")
        return
      }
      if Self.isNamed(view, line, "sec-fetch-site"), !value.elementsEqual("same-origin".utf8),
        !value.elementsEqual("none".utf8)
      {
        response = .problem(
          403, "the request comes from another site", hint: "open the page by its own address")
        return
      }
    }
    return nil
  }

  static func isLoopback(_ host: String) -> Bool {
    if host == "[::1]" || host.lowercased() == "localhost" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127"
      && parts.allSatisfy { part in
        part.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } && UInt8(part) != nil
      }
  }

  /// Whether a field line has a name. - Parameter name: in lower case.
  static func isNamed(_ view: RequestView, _ line: FieldLine, _ name: StaticString) -> Bool {
    let bytes = view.slice(line.name)
    guard bytes.count == name.utf8CodeUnitCount else { return false }
    return name.withUTF8Buffer { wanted in
      zip(bytes, wanted).allSatisfy { byte, lower in
        (byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte) == lower
      }
    }
  }
}
