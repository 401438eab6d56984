// Everything that can be wrong is found before anything is started, and told all at once: files,
// keys, names, addresses. What it finds right it hands on, so that nothing is read twice.

public import Configuration
import Glibc
import MillraceEngine
import TLS

/// What a configuration needs from the machine, found and checked.
public struct Preflight: Sendable {
  let listenerAddresses: [SocketAddress]
  /// By upstream and server: each of a server's addresses.
  let serverAddresses: [[[SocketAddress]]]
  /// Addresses of a name that are used. Each may cost a connect timeout before the last one is
  /// tried, so that more would help nobody.
  static let addressesMaximum = 16
  let certificates: [[CertificateSource]]

  /// Checks a configuration against this machine.
  /// - Parameter binding: also tries to bind every listener, which `check` on a machine that is
  ///   already serving must not do.
  /// - Returns: the findings, and what was found unless one of them is an error.
  public static func run(
    _ configuration: ProxyConfiguration, binding: Bool
  ) -> (preflight: Preflight?, problems: [Problem]) {
    var problems: [Problem] = []
    var addresses: [SocketAddress] = []
    var certificates: [[CertificateSource]] = []
    for (i, listener) in configuration.listeners.enumerated() {
      certificates.append(check(listener, i, &problems))
      guard
        let address = resolve(listener.address, listener.addressLocation, true, &problems).first
      else { continue }
      addresses.append(address)
      if binding { tryBinding(address, listener, &problems) }
    }
    var servers: [[[SocketAddress]]] = []
    for upstream in configuration.upstreams {
      servers.append(
        upstream.servers.map { resolve($0.address, $0.location, false, &problems) })
    }
    if let audit = configuration.audit { check(audit, &problems) }
    if problems.contains(where: { $0.severity == .error }) { return (nil, problems) }
    return (
      Preflight(
        listenerAddresses: addresses, serverAddresses: servers, certificates: certificates),
      problems
    )
  }

  private static func check(
    _ listener: ListenerConfiguration, _ index: Int, _ problems: inout [Problem]
  ) -> [CertificateSource] {
    guard let tls = listener.tls else { return [] }
    return tls.certificates.map { pair in
      let source = CertificateSource(
        certificatePath: pair.certificatePath, keyPath: pair.keyPath)
      let now = SystemClock.wallMicroseconds() / 1_000_000
      for finding in TLSContext.check(source, now: now) {
        problems.append(
          Problem(
            location: finding.file == .key ? pair.keyLocation : pair.certificateLocation,
            message: "\(finding.path): \(finding.what)", cure: finding.remedy,
            severity: finding.severity == .error ? .error : .warning))
      }
      return source
    }
  }

  private static func resolve(
    _ address: EndpointAddress, _ location: SourceLocation, _ passive: Bool,
    _ problems: inout [Problem]
  ) -> [SocketAddress] {
    switch address {
    case .unix(let path):
      if let socket = SocketAddress(unixPath: path) { return [socket] }
      problems.append(
        Problem(
          location: location, message: "the path \(path) is too long for a UNIX socket",
          cure: "use a path of at most 107 bytes", severity: .error))
    case .ip(let host, let port):
      do {
        let found = try SocketAddress.resolve(host: host, port: port, passive: passive)
        if found.count > addressesMaximum {
          problems.append(
            Problem(
              location: location,
              message: "\(host) has \(found.count) addresses, and the first"
                + " \(addressesMaximum) are used",
              cure: "list the servers by their addresses, so that requests are spread over them",
              severity: .warning))
        }
        return Array(found.prefix(addressesMaximum))
      } catch {
        problems.append(
          Problem(
            location: location, message: "\(error)",
            cure: "check the name, or write the address itself", severity: .error))
      }
    }
    return []
  }

  /// A proxy that was killed a moment ago may still hold the address: the kernel ends a ring, and
  /// with it its listeners, after the process. Half a second is more than that takes.
  private static func bindPatiently(_ address: SocketAddress) -> SystemFailure? {
    var failure = BindTrial.run(address)
    for _ in 0..<10 where failure?.code == EADDRINUSE {
      Pause.microseconds(50_000)
      failure = BindTrial.run(address)
    }
    return failure
  }

  private static func tryBinding(
    _ address: SocketAddress, _ listener: ListenerConfiguration, _ problems: inout [Problem]
  ) {
    guard let failure = bindPatiently(address) else { return }
    let text = listener.address.description
    let (message, cure): (String, String)
    switch failure.code {
    case EADDRINUSE:
      message = "the address \(text) is in use"
      cure = "stop what listens there (`ss -ltnp` names it), or choose another port"
    case EACCES, EPERM:
      message = "no right to listen on \(text)"
      cure = "use a port from 1024 on, or grant CAP_NET_BIND_SERVICE"
    case EADDRNOTAVAIL:
      message = "\(text) is no address of this machine"
      cure = "use one that `ip address` lists, or 0.0.0.0 for all"
    case EAFNOSUPPORT:
      message = "this machine has no IPv6 for \(text)"
      cure = "use an IPv4 address, for example 0.0.0.0"
    default:
      message = "cannot listen on \(text): \(failure.reason)"
      cure = "choose an address that this machine has and that is free"
    }
    problems.append(
      Problem(
        location: listener.addressLocation, message: message, cure: cure, severity: .error))
  }

  private static func check(_ audit: AuditConfiguration, _ problems: inout [Problem]) {
    guard let code = DirectoryTrial.run(audit.directory) else { return }
    problems.append(
      Problem(
        location: audit.directoryLocation,
        message: "the directory \(audit.directory) cannot be used: "
          + String(cString: strerror(code)),
        cure: "create it and make it writable for the user that millrace runs as",
        severity: .error))
  }
}
