// One line of the routing table: which requests it takes and which upstream they go to. Names are
// already resolved to indices, hosts are lower case, prefixes have no trailing slash, so a router
// compares bytes and nothing else.

/// Which paths a route takes. The query is no part of the path.
public enum PathMatch: Sendable, Equatable {
  /// Every path.
  case any
  /// Whole segments: `/api` takes `/api`, `/api/` and `/api/v1`, never `/apis`. Starts with `/`,
  /// does not end in one.
  case prefix(String)
  /// This path and no other.
  case exact(String)
}

/// A route: the first of the table that matches a request wins.
public struct RouteConfiguration: Sendable, Equatable {
  /// Index into `ProxyConfiguration.listeners`; nil: all of them.
  public var listener: Int?
  /// Lower case, no port, no trailing dot. An exact host, or `*.example` for every host with one or more labels in
  /// front of `.example`. nil: all of them.
  public var host: String?
  public var path: PathMatch
  /// Index into `ProxyConfiguration.upstreams`.
  public var upstream: Int
  public var location: SourceLocation
  /// Its exchanges have lines in the access log.
  public var logsAccess = true

  public init(
    listener: Int? = nil,
    host: String? = nil,
    path: PathMatch = .any,
    upstream: Int,
    location: SourceLocation = SourceLocation()
  ) {
    self.listener = listener
    self.host = host
    self.path = path
    self.upstream = upstream
    self.location = location
  }
}
