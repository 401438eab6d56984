// Which upstream a request goes to: the first route that matches. Pure functions over bytes.
//
// TRAP: (file) both counts are equal or the path's is larger, and a route's path begins with a
// slash: neither is empty where addresses are taken.

import Glibc

enum Router {
  /// The upstream of the first matching route, or nil.
  static func route(
    _ routes: UnsafeBufferPointer<RoutePlan>, listener: Int32, authority: UnsafeRawBufferPointer,
    path: UnsafeRawBufferPointer
  ) -> Int32? {
    match(routes, listener: listener, authority: authority, path: path)?.pointee.upstream
  }

  /// The first matching route, or nil.
  /// - Parameters:
  ///   - authority: the host as received, with or without a port; compared without case and
  ///     without the dot that an absolute name may end in, as a certificate is chosen by SNI.
  ///   - path: the path as received, which is also what is forwarded: match and forward agree.
  @inline(__always)
  static func match(
    _ routes: UnsafeBufferPointer<RoutePlan>, listener: Int32, authority: UnsafeRawBufferPointer,
    path: UnsafeRawBufferPointer
  ) -> UnsafePointer<RoutePlan>? {
    for index in routes.indices {
      let route = routes[index]
      if (route.listener < 0 || route.listener == listener)
        && matches(host: authority, route) && matches(path: path, route)
      {
        return routes.baseAddress.map { $0 + index }
      }
    }
    return nil
  }

  private static func matches(host authority: UnsafeRawBufferPointer, _ route: RoutePlan)
    -> Bool
  {
    if route.hostKind == .any { return true }
    let host = withoutDot(withoutPort(authority))
    let wanted = route.host.raw
    switch route.hostKind {
    case .any: return true
    case .exact: return equalIgnoringCase(host, wanted)
    case .wildcard:
      // "*.example" stands for one or more labels in front of ".example".
      guard host.count > wanted.count else { return false }
      return equalIgnoringCase(
        UnsafeRawBufferPointer(rebasing: host[(host.count - wanted.count)...]), wanted)
    }
  }

  private static func matches(path: UnsafeRawBufferPointer, _ route: RoutePlan) -> Bool {
    let wanted = route.path.raw
    switch route.pathKind {
    case .any: return true
    case .exact:
      return path.count == wanted.count
        && memcmp(path.baseAddress!, wanted.baseAddress!, wanted.count) == 0
    case .prefix:
      return path.count >= wanted.count
        && memcmp(path.baseAddress!, wanted.baseAddress!, wanted.count) == 0
        && (path.count == wanted.count || path[wanted.count] == UInt8(ascii: "/"))
    }
  }

  /// The host of "host", "host:port" or "[v6]:port".
  static func withoutPort(_ authority: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var end = authority.count
    var i = authority.count - 1
    while i >= 0 {
      let byte = authority[i]
      if byte == UInt8(ascii: ":") {
        end = i
        break
      }
      if byte < UInt8(ascii: "0") || byte > UInt8(ascii: "9") { break }
      i -= 1
    }
    return UnsafeRawBufferPointer(rebasing: authority[..<end])
  }

  /// The host without one trailing dot (RFC 1034 3.1: "shop.example." and "shop.example" are one
  /// name). What is forwarded keeps it.
  @inline(__always)
  static func withoutDot(_ host: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    guard let last = host.last, last == UInt8(ascii: ".") else { return host }
    return UnsafeRawBufferPointer(rebasing: host.dropLast())
  }

  private static func equalIgnoringCase(
    _ a: UnsafeRawBufferPointer, _ lower: UnsafeRawBufferPointer
  ) -> Bool {
    guard a.count == lower.count else { return false }
    for i in 0..<a.count {
      var byte = a[i]
      if byte >= 65 && byte <= 90 { byte |= 0x20 }
      if byte != lower[i] { return false }
    }
    return true
  }
}
