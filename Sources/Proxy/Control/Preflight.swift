// Everything that can be wrong is found before anything is started, and told all at once: files,
// keys, names, addresses. What it finds right it hands on, so that nothing is read twice.

public import Configuration
import Glibc
public import MillraceEngine
import TLS

/// What a configuration needs from the machine, found and checked.
public struct Preflight: Sendable {
  let listenerAddresses: [SocketAddress]
  /// By upstream and server: each of a server's addresses.
  let serverAddresses: [[[SocketAddress]]]
  /// Addresses of a name that are used. Each may cost a connect timeout before the last one is
  /// tried, so that more would only delay the error.
  static let addressesMaximum = 16
  let certificates: [[CertificateSource]]
  /// Held until the workers listen.
  let lock: StartLock?
  /// Listening sockets that were handed to the process.
  var inherited: [InheritedSocket] = []

  /// Recovering a large audit log may take this long before the listeners are bound.
  private static let lockMilliseconds = 30_000

  /// Checks a configuration against this machine.
  /// - Parameter binding: also tries to bind every listener, which `check` on a machine that is
  ///   already serving must not do.
  /// - Returns: the findings, and what was found unless one of them is an error.
  public static func run(
    _ configuration: ProxyConfiguration, binding: Bool
  ) -> (preflight: Preflight?, problems: [Problem]) {
    run(configuration, binding: binding, own: [])
  }

  /// The same for a process that is about to start.
  /// - Parameters:
  ///   - inherited: listening sockets that were handed to it, which need not be bound.
  ///   - isUpgrade: it takes the place of a process that has the address of its admin server.
  public static func run(
    _ configuration: ProxyConfiguration, inherited: [InheritedSocket],
    isUpgrade: Bool = false
  ) -> (preflight: Preflight?, problems: [Problem]) {
    var (preflight, problems) = run(
      configuration, binding: true, own: inherited.map(\.address), isServing: isUpgrade)
    preflight?.inherited = inherited
    return (preflight, problems)
  }

  /// The same for a process that serves already.
  /// - Parameters:
  ///   - own: addresses that it listens on, which are left alone.
  ///   - isServing: it has the address of its admin server, which no reload changes.
  static func run(
    _ configuration: ProxyConfiguration, binding: Bool, own: [SocketAddress],
    isServing: Bool = false
  ) -> (preflight: Preflight?, problems: [Problem]) {
    var problems: [Problem] = []
    var addresses: [SocketAddress] = []
    var certificates: [[CertificateSource]] = []
    for (i, listener) in configuration.listeners.enumerated() {
      certificates.append(check(listener, i, &problems))
      guard
        let address = resolve(
          listener.address, listener.addressLocation, true, mode: listener.mode, &problems
        ).first
      else { continue }
      addresses.append(address)
    }
    let lock = tryBinding(addresses, configuration, binding, own, &problems)
    var servers: [[[SocketAddress]]] = []
    for upstream in configuration.upstreams {
      ClientContexts.check(upstream, &problems)
      servers.append(
        upstream.servers.map { resolve($0.address, $0.location, false, &problems) })
    }
    if let audit = configuration.audit { check(audit, &problems) }
    if let admin = configuration.admin { check(admin, binding && !isServing, &problems) }
    if problems.contains(where: { $0.severity == .error }) { return (nil, problems) }
    return (
      Preflight(
        listenerAddresses: addresses, serverAddresses: servers, certificates: certificates,
        lock: lock),
      problems
    )
  }

  /// Checks only the files that a configuration with errors names, so that all of its errors are told
  /// at once.
  public static func checkFiles(_ partial: ProxyConfiguration) -> [Problem] {
    var problems: [Problem] = []
    for (i, listener) in partial.listeners.enumerated() {
      _ = check(listener, i, &problems)
      if case .unix(let path) = listener.address { check(path, listener, false, &problems) }
    }
    for upstream in partial.upstreams { ClientContexts.check(upstream, &problems) }
    return problems
  }

  private static func check(
    _ listener: ListenerConfiguration, _ index: Int, _ problems: inout [Problem]
  ) -> [CertificateSource] {
    guard let tls = listener.tls else { return [] }
    return tls.certificates.map { pair in
      let source = CertificateSource(pair)
      let now = SystemClock.wallMicroseconds() / 1_000_000
      for finding in TLSContext.check(source, now: now) {
        problems.append(
          Problem(finding, at: finding.file == .key ? pair.keyLocation : pair.certificateLocation))
      }
      return source
    }
  }

  private static func resolve(
    _ address: EndpointAddress, _ location: SourceLocation, _ passive: Bool,
    mode: UInt32? = nil, _ problems: inout [Problem]
  ) -> [SocketAddress] {
    switch address {
    case .unix(let path):
      if var socket = SocketAddress(unixPath: path) {
        if passive { socket.unixMode = mode }
        return [socket]
      }
      problems.append(
        Problem(
          location: location, message: "the path \(path) is too long for a Unix socket",
          hint: "use a path of at most 107 bytes", severity: .error))
    case .ip(let host, let port):
      do {
        let found = try SocketAddress.resolve(host: host, port: port, passive: passive)
        if found.count > addressesMaximum {
          problems.append(
            Problem(
              location: location,
              message: "\(host) has \(found.count) addresses; only the first"
                + " \(addressesMaximum) are used",
              hint: "list the servers by address to balance requests over all of them",
              severity: .warning))
        }
        return Array(found.prefix(addressesMaximum))
      } catch {
        problems.append(
          Problem(
            location: location, message: "\(error)",
            hint: "check the name, or write an IP address", severity: .error))
      }
    }
    return []
  }

  /// Looks at every address; one start at a time, where the addresses are to be bound.
  /// The same for a UNIX socket, whose listener answers for as long as its ring lives.
  private static func lookPatiently(_ path: String) -> UnixPathTrial.Finding {
    var finding = UnixPathTrial.look(path)
    for _ in 0..<10 where finding == .inUse {
      Pause.microseconds(50_000)
      finding = UnixPathTrial.look(path)
    }
    return finding
  }

  private static func tryBinding(
    _ addresses: [SocketAddress], _ configuration: ProxyConfiguration, _ binding: Bool,
    _ own: [SocketAddress], _ problems: inout [Problem]
  ) -> StartLock? {
    // Some could not be read: there will be no start.
    guard addresses.count == configuration.listeners.count else { return nil }
    let known = Set(own.map(\.description))
    var lock: StartLock?
    if binding {
      let news = addresses.filter { !known.contains($0.description) }
      lock = StartLock.take(news, milliseconds: lockMilliseconds)
      if lock == nil, let listener = configuration.listeners.first {
        problems.append(
          Problem(
            location: listener.addressLocation,
            message:
              "the address \(listener.address) is in use: another process has been starting up on"
              + " it for \(lockMilliseconds / 1000) s",
            hint: "stop that process, or choose another port", severity: .error))
        return nil
      }
    }
    for (address, listener) in zip(addresses, configuration.listeners)
    where !known.contains(address.description) {
      if let path = address.unixPath {
        check(path, listener, binding, &problems)
      } else if binding, !own.contains(where: { $0.port == address.port && !$0.isUnix }) {
        // A port that is this process's own is shared with nobody else: the kernel says so when it is opened.
        tryBinding(address, listener, &problems)
      }
    }
    return lock
  }

  private static func check(
    _ path: String, _ listener: ListenerConfiguration, _ binding: Bool,
    _ problems: inout [Problem]
  ) {
    func words(_ code: Int32) -> String { String(cString: strerror(code)) }
    let (message, hint): (String, String)
    switch binding ? lookPatiently(path) : UnixPathTrial.look(path) {
    case .free: return
    // `check` runs beside a proxy that serves.
    case .inUse where !binding: return
    case .stale:
      guard binding, let code = UnixPathTrial.remove(path) else { return }
      message = "the socket \(path) is stale and cannot be removed: \(words(code))"
      hint = "remove it as the user that owns it, or choose another path"
    case .inUse:
      message = "the address unix:\(path) is in use"
      hint = "stop the process that listens there (`ss -lxp` shows it), or choose another path"
    case .notASocket:
      message = "\(path) exists and is not a socket"
      hint = "remove the file, or choose another path"
    case .foreign(EPROTOTYPE):
      message = "\(path) is in use: another process has a datagram or seqpacket socket there"
      hint = "stop that process (`ss -xp` shows it), or choose another path"
    case .foreign(let code):
      message = "\(path) may be in use: connecting to it failed: \(words(code))"
      hint = "remove it if no process uses it, or choose another path"
    case .directory(let directory, let code):
      message = "cannot create a socket in \(directory): \(words(code))"
      hint =
        code == ENOENT
        ? "create the directory (RuntimeDirectory= in systemd), or choose another path"
        : "make it writable by the user that millrace runs as, or choose another path"
    }
    problems.append(
      Problem(
        location: listener.addressLocation, message: message, hint: hint, severity: .error))
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
    if let failure = bindPatiently(address) { problems.append(problem(failure, listener)) }
  }

  /// Why a listener cannot be opened.
  static func problem(_ failure: SystemFailure, _ listener: ListenerConfiguration) -> Problem {
    let text = listener.address.description
    let (message, hint): (String, String)
    switch failure.code {
    case EADDRINUSE:
      message = "the address \(text) is in use"
      hint = "stop the process that listens there (`ss -ltnp` shows it), or choose another port"
    case EACCES, EPERM:
      message = "cannot listen on \(text): permission denied"
      hint = "use port 1024 or higher, or grant CAP_NET_BIND_SERVICE"
    case EADDRNOTAVAIL:
      message = "cannot listen on \(text): address not available on this host"
      hint = "use an address that `ip address` lists, or 0.0.0.0 for all"
    case EAFNOSUPPORT:
      message = "cannot listen on \(text): IPv6 is not available on this host"
      hint = "use an IPv4 address, for example 0.0.0.0"
    default:
      message = "cannot listen on \(text): \(failure.reason)"
      hint = "choose an unused address of this host"
    }
    return Problem(
      location: listener.addressLocation, message: message, hint: hint, severity: .error)
  }

  private static func check(
    _ admin: AdminConfiguration, _ binding: Bool, _ problems: inout [Problem]
  ) {
    let place = ListenerConfiguration(
      address: admin.address, addressLocation: admin.addressLocation)
    guard let address = resolve(admin.address, admin.addressLocation, true, &problems).first
    else { return }
    if let path = address.unixPath {
      check(path, place, binding, &problems)
    } else if binding {
      tryBinding(address, place, &problems)
    }
  }

  private static func check(_ audit: AuditConfiguration, _ problems: inout [Problem]) {
    guard let code = DirectoryTrial.run(audit.directory) else { return }
    problems.append(
      Problem(
        location: audit.directoryLocation,
        message: "cannot use the directory \(audit.directory): "
          + String(cString: strerror(code)),
        hint: "create it and make it writable by the user that millrace runs as",
        severity: .error))
  }
}
