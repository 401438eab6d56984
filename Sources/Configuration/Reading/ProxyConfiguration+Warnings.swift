// What a whole configuration, right in each part, probably does not do as meant: routes that no
// request reaches, upstreams that no route uses, listeners that lead nowhere. It works on the
// value, so a configuration made of flags can be asked too.

extension ProxyConfiguration {
  /// The warnings about how the parts fit together, in no particular order. The indices in the
  /// routes must be those of the lists.
  public func warnings() -> [Problem] {
    var problems: [Problem] = []
    for (index, route) in routes.enumerated() {
      guard let earlier = routes[..<index].firstIndex(where: { $0.covers(route) }) else { continue }
      problems.append(
        Problem(
          location: route.location,
          message: "is never reached: routes[\(earlier)]"
            + (routes[earlier].location.line > 0
              ? " (line \(routes[earlier].location.line))" : "")
            + " matches all of its requests",
          hint: "move it before that route, or remove it", severity: .warning))
    }
    for (index, upstream) in upstreams.enumerated()
    where !routes.contains(where: { $0.upstream == index })
      && !listeners.contains(where: { $0.relay?.leads(to: index) == true })
    {
      problems.append(
        Problem(
          location: upstream.location, message: "is not used by any route",
          hint: "add a route with upstream: \(excerpt(upstream.name)), or remove it",
          severity: .warning))
    }
    for (index, listener) in listeners.enumerated()
    where listener.relay == nil
      && !routes.contains(where: { $0.listener == nil || $0.listener == index })
    {
      problems.append(
        Problem(
          location: listener.addressLocation,
          message: "is not used: no route matches requests from \(quoted(listener.name))",
          hint: "add a route for it, or remove it", severity: .warning))
    }
    return problems
  }
}

extension RelayConfiguration {
  func leads(to index: Int) -> Bool {
    upstream == index || names.contains { $0.upstream == index }
  }
}

extension RouteConfiguration {
  /// Whether every request that `other` matches is matched by this route too.
  func covers(_ other: RouteConfiguration) -> Bool {
    if let listener, listener != other.listener { return false }
    return Self.host(host, covers: other.host) && path.covers(other.path)
  }

  private static func host(_ host: String?, covers other: String?) -> Bool {
    guard let host else { return true }
    guard let other else { return false }
    if host == other { return true }
    // *.example covers a.example and *.b.example, and not example itself.
    return host.hasPrefix("*.") && other.hasSuffix(host.dropFirst())
  }
}

extension PathMatch {
  func covers(_ other: PathMatch) -> Bool {
    switch (self, other) {
    case (.any, _): true
    case (_, .any): false
    case (.exact(let path), .exact(let inner)): path == inner
    case (.exact, .prefix): false
    case (.prefix(let prefix), .exact(let inner)), (.prefix(let prefix), .prefix(let inner)):
      inner == prefix || inner.hasPrefix(prefix + "/")
    }
  }
}
