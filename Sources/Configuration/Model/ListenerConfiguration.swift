// A listener as it was configured: the address it binds, its protocols, its TLS and its timeouts.

/// One listening socket (per worker).
public struct ListenerConfiguration: Sendable, Equatable {
  /// What records, metrics and routes call it; the address as written unless it is named.
  public var name: String
  public var address: EndpointAddress
  public var addressLocation: SourceLocation
  /// Of a Unix socket: the mode of its file. By default everybody on the machine may connect, as with
  /// nginx.
  public var mode: UInt32 = 0o666
  /// nil: plaintext.
  public var tls: ListenerTLS?
  public var timeouts: DownstreamTimeouts
  /// What becomes of fields with an underscore in their name.
  public var underscores: UnderscorePolicy
  /// What its clients may speak: with TLS by ALPN, most preferred first; without, HTTP/2 by prior
  /// knowledge.
  public var httpVersions: [HTTPVersionChoice] = [.http11]
  /// Its exchanges have lines in the access log.
  public var logsAccess = true
  /// Its connections are passed on as they are (`protocol: relay`); nil: they are HTTP.
  public var relay: RelayConfiguration?

  public init(
    name: String? = nil,
    address: EndpointAddress,
    addressLocation: SourceLocation = SourceLocation(),
    tls: ListenerTLS? = nil,
    timeouts: DownstreamTimeouts = DownstreamTimeouts(),
    underscores: UnderscorePolicy = .pass
  ) {
    self.name = name ?? address.description
    self.address = address
    self.addressLocation = addressLocation
    self.tls = tls
    self.timeouts = timeouts
    self.underscores = underscores
  }
}

/// Where the connections of a listener go that are passed on byte by byte.
public struct RelayConfiguration: Sendable, Equatable {
  /// A name that clients ask for by SNI.
  public struct Name: Sendable, Equatable {
    /// Lower case; exact, or `*.example` as in a route.
    public var name: String
    /// Index into `ProxyConfiguration.upstreams`.
    public var upstream: Int

    public init(name: String, upstream: Int) {
      self.name = name
      self.upstream = upstream
    }
  }

  /// Of connections that ask for none of the names; nil: they are reset.
  public var upstream: Int?
  /// The first that matches wins. Without any no byte is looked at.
  public var names: [Name]

  public init(upstream: Int?, names: [Name] = []) {
    self.upstream = upstream
    self.names = names
  }
}

/// A version of HTTP that a listener serves. With `http11` it serves HTTP/1.0 too.
public enum HTTPVersionChoice: String, Sendable, Equatable, CaseIterable {
  case http2 = "h2"
  case http11 = "http/1.1"
}

/// What becomes of request fields with an underscore in their name. Those that a server could take
/// for one that the proxy writes are dropped whatever this says.
public enum UnderscorePolicy: String, Sendable, Equatable, CaseIterable {
  case pass
  case drop
}

/// How long a downstream connection may take. All are nanoseconds, 1 ms…24 h.
public struct DownstreamTimeouts: Sendable, Equatable {
  /// From a request's first byte (or the accept) to the end of its head, TLS handshake included.
  public var headNanoseconds: Int64
  /// Between two reads of request content, or two writes of response content.
  public var bodyNanoseconds: Int64
  /// Between two requests on one connection.
  public var idleNanoseconds: Int64
  /// How long nothing may come on a connection of HTTP/2 with streams before its client is asked for a
  /// sign of life (PING); 0: it is not.
  public var keepAlivePingNanoseconds: Int64
  /// How long nothing may come behind that.
  public var keepAliveAckNanoseconds: Int64

  public init(
    headNanoseconds: Int64 = 10 * DurationUnit.second,
    bodyNanoseconds: Int64 = 30 * DurationUnit.second,
    idleNanoseconds: Int64 = 60 * DurationUnit.second,
    keepAlivePingNanoseconds: Int64 = 0,
    keepAliveAckNanoseconds: Int64 = 15 * DurationUnit.second
  ) {
    self.headNanoseconds = headNanoseconds
    self.bodyNanoseconds = bodyNanoseconds
    self.idleNanoseconds = idleNanoseconds
    self.keepAlivePingNanoseconds = keepAlivePingNanoseconds
    self.keepAliveAckNanoseconds = keepAliveAckNanoseconds
  }
}
