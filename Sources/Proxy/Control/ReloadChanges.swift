// In what two configurations differ, in the words of the configuration: for the log line of a reload, and so
// that one which changes nothing is told apart.

import Configuration

enum ReloadChanges {
  /// - Returns: one phrase for each kind of change; empty: they say the same.
  static func list(
    from old: ProxyConfiguration, to new: ProxyConfiguration
  ) -> [String] {
    var changes: [String] = []
    func add(_ noun: String, _ words: [String]) {
      if !words.isEmpty { changes.append("\(noun): \(words.joined(separator: ", "))") }
    }
    add(
      "listeners",
      compare(old.listeners.map(\.withoutPlaces), new.listeners.map(\.withoutPlaces)) {
        "\($0.name)"
      } same: {
        // Upstreams by name: their numbers depend on the order in the file.
        var (a, b) = ($0, $1)
        let isSameRelay = names(a.relay, old) == names(b.relay, new)
        (a.relay, b.relay) = (nil, nil)
        return a == b && isSameRelay
      })
    add(
      "upstreams",
      compare(old.upstreams.map(\.withoutPlaces), new.upstreams.map(\.withoutPlaces)) {
        $0.name
      } same: {
        $0 == $1
      })
    var settings: [String] = []
    if routes(old) != routes(new) { settings.append("routes") }
    if old.limits != new.limits { settings.append("limits") }
    if old.via != new.via { settings.append("via") }
    if old.drain != new.drain { settings.append("drain") }
    if old.reload != new.reload { settings.append("reload") }
    if old.audit?.redactQuery != new.audit?.redactQuery { settings.append("audit") }
    if old.accessLog != new.accessLog { settings.append("access_log") }
    add("settings", settings)
    return changes
  }

  private static func compare<T>(
    _ old: [T], _ new: [T], _ name: (T) -> String, same: (T, T) -> Bool
  ) -> [String] {
    let before = Dictionary(old.map { (name($0), $0) }) { first, _ in first }
    let after = Dictionary(new.map { (name($0), $0) }) { first, _ in first }
    var words: [String] = []
    for each in new {
      guard let other = before[name(each)] else {
        words.append("+\(name(each))")
        continue
      }
      if !same(other, each) { words.append("~\(name(each))") }
    }
    words += old.map(name).filter { after[$0] == nil }.map { "-\($0)" }
    return words
  }

  private static func names(
    _ relay: RelayConfiguration?, _ configuration: ProxyConfiguration
  ) -> [String]? {
    func name(_ index: Int) -> String { configuration.upstreams[index].name }
    return relay.map { relay in
      [relay.upstream.map(name) ?? ""] + relay.names.map { "\($0.name) \(name($0.upstream))" }
    }
  }

  private static func routes(_ configuration: ProxyConfiguration) -> [RouteKey] {
    configuration.routes.map { route in
      RouteKey(
        listener: route.listener.map { configuration.listeners[$0].name }, host: route.host,
        path: route.path, upstream: configuration.upstreams[route.upstream].name,
        logsAccess: route.logsAccess)
    }
  }

  private struct RouteKey: Equatable {
    let listener: String?
    let host: String?
    let path: PathMatch
    let upstream: String
    let logsAccess: Bool
  }
}

extension CertificateConfiguration {
  fileprivate var withoutPlaces: CertificateConfiguration {
    CertificateConfiguration(certificatePath: certificatePath, keyPath: keyPath)
  }
}

extension ListenerConfiguration {
  fileprivate var withoutPlaces: ListenerConfiguration {
    var copy = self
    copy.addressLocation = SourceLocation()
    copy.tls?.certificates = tls?.certificates.map(\.withoutPlaces) ?? []
    return copy
  }
}

extension UpstreamConfiguration {
  fileprivate var withoutPlaces: UpstreamConfiguration {
    var copy = self
    copy.location = SourceLocation()
    copy.source.location = SourceLocation()
    copy.servers = servers.map { ServerConfiguration(address: $0.address, weight: $0.weight) }
    copy.tls?.caLocation = SourceLocation()
    copy.tls?.certificate = tls?.certificate?.withoutPlaces
    return copy
  }
}
