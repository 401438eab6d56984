// The TLS contexts of a plan, made from those of the plan before: where neither the settings nor the content of
// the files has changed, it is the same context, so that kept connections to servers stay usable and nothing
// is read into memory twice.

import Configuration
import TLS

struct TLSContexts {
  private struct Server {
    let settings: ServerSettings
    let context: TLSContext
  }

  private struct ServerSettings: Equatable {
    let sources: [CertificateSource]
    let minimumVersion: ListenerTLS.Version
    let recordLayer: ListenerTLS.RecordLayer
    let versions: [HTTPVersionChoice]
  }

  private struct Client {
    let settings: UpstreamTLS
    let files: [String]
    let context: TLSClientContext
  }

  /// By listener and by upstream; nil: plain.
  private(set) var listeners: [TLSContext?] = []
  private(set) var upstreams: [TLSClientContext?] = []
  /// Files whose content is not what it was in the plan before.
  private(set) var renewed: [String] = []
  private var servers: [Server] = []
  private var clients: [Client] = []
  /// What was in each file just before it was read.
  private var digests: [String: [UInt8]] = [:]

  /// Those of a configuration. Reads files; not for the loop.
  /// - Parameter certificates: by listener.
  func next(
    _ configuration: ProxyConfiguration, _ certificates: [[CertificateSource]],
    _ tickets: TicketKeys
  ) throws(TLSFailure) -> TLSContexts {
    var next = TLSContexts()
    for path in Self.files(configuration) { next.digests[path] = FileDigest.of(path) }
    next.renewed = next.digests.keys.filter {
      digests[$0] != nil && digests[$0] != next.digests[$0]
    }.sorted()
    let now = next.digests
    func isUnchanged(_ paths: [String]) -> Bool {
      paths.allSatisfy { digests[$0] != nil && digests[$0] == now[$0] }
    }
    for (listener, sources) in zip(configuration.listeners, certificates) {
      try next.addListener(listener, sources, from: self, tickets, isUnchanged)
    }
    for upstream in configuration.upstreams {
      try next.addUpstream(upstream, from: self, isUnchanged)
    }
    return next
  }

  private mutating func addListener(
    _ listener: ListenerConfiguration, _ sources: [CertificateSource], from before: TLSContexts,
    _ tickets: TicketKeys, _ isUnchanged: ([String]) -> Bool
  ) throws(TLSFailure) {
    guard let tls = listener.tls else { return listeners.append(nil) }
    let settings = ServerSettings(
      sources: sources, minimumVersion: tls.minimumVersion, recordLayer: tls.recordLayer,
      versions: listener.httpVersions)
    let files = sources.flatMap { [$0.certificatePath, $0.keyPath] }
    let known = before.servers.first { $0.settings == settings }
    let context: TLSContext
    if let known, isUnchanged(files) {
      context = known.context
    } else {
      context = try TLSContext(
        certificates: sources, minimumVersion: tls.minimumVersion == .tls13 ? .tls13 : .tls12,
        alpn: Self.protocols(listener.httpVersions), tickets: tickets,
        sealing: tls.recordLayer == .openSSL ? .never : .whenLong)
    }
    servers.append(Server(settings: settings, context: context))
    listeners.append(context)
  }

  private mutating func addUpstream(
    _ upstream: UpstreamConfiguration, from before: TLSContexts,
    _ isUnchanged: ([String]) -> Bool
  ) throws(TLSFailure) {
    guard let tls = upstream.tls?.withoutPlaces else { return upstreams.append(nil) }
    // Equal settings share one, since each holds all CAs that are trusted.
    if let known = clients.first(where: { $0.settings == tls }) {
      return upstreams.append(known.context)
    }
    let files = Self.files(tls)
    let known = before.clients.first { $0.settings == tls && $0.files == files }
    let context: TLSClientContext
    if let known, isUnchanged(files) {
      context = known.context
    } else {
      context = try TLSClientContext(
        trust: tls.trust, certificate: tls.certificate.map { CertificateSource($0) },
        minimumVersion: tls.minimumVersion == .tls13 ? .tls13 : .tls12, alpn: tls.alpn,
        keepsTickets: true)
    }
    clients.append(Client(settings: tls, files: files, context: context))
    upstreams.append(context)
  }

  /// What ALPN offers, most preferred first: a client that offers HTTP/1.0 alone (`curl --http1.0`) is
  /// served too.
  private static func protocols(_ versions: [HTTPVersionChoice]) -> [String] {
    versions.flatMap { $0 == .http11 ? ["http/1.1", "http/1.0"] : [$0.rawValue] }
  }

  // MARK: Files

  /// The files of a client's context.
  private static func files(_ tls: UpstreamTLS) -> [String] {
    var files = tls.certificate.map { [$0.certificatePath, $0.keyPath] } ?? []
    switch tls.trust {
    case .file(let path): files.append(path)
    case .system: files += FileDigest.systemAuthorities
    case .anyone: break
    }
    return files
  }

  /// The files that a configuration names, and those of the system's CAs where it trusts them.
  private static func files(_ configuration: ProxyConfiguration) -> Set<String> {
    var files = Set(namedFiles(configuration))
    for upstream in configuration.upstreams {
      if let tls = upstream.tls { files.formUnion(self.files(tls)) }
    }
    return files
  }

  /// The files that a configuration names, in its order.
  static func namedFiles(_ configuration: ProxyConfiguration) -> [String] {
    let listeners = configuration.listeners.flatMap { $0.tls?.certificates ?? [] }
    let upstreams = configuration.upstreams.compactMap(\.tls)
    let pairs = listeners + upstreams.compactMap(\.certificate)
    return pairs.flatMap { [$0.certificatePath, $0.keyPath] }
      + upstreams.compactMap { $0.verify ? $0.caPath : nil }
  }
}
