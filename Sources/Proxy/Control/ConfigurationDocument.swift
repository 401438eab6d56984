// The configuration in force, with the keys of the file and the defaults written out. It is made from what the
// proxy runs with, not from the file's text, which may hold values of the environment; and it names no private key.

import Admin
import Configuration

private typealias Member = JSONValue.Member

private func duration(_ nanoseconds: Int64) -> JSONValue { .text(durationText(nanoseconds)) }

private func texts(_ list: [String]) -> JSONValue { .array(list.map { .text($0) }) }

extension ProxyConfiguration {
  var document: JSONValue {
    var members: [Member] = [
      Member("engine", engineDocument), Member("workers", workersDocument),
      Member("pin", .text(pin.rawValue)), Member("placement", .text(placement.rawValue)),
      Member("listeners", .array(listeners.map { document($0) })),
      Member("routes", .array(routes.map { document($0) })),
      Member("upstreams", .object(upstreams.map { Member($0.name, $0.document) })),
    ]
    if let audit { members.append(Member("audit", audit.document)) }
    if let accessLog { members.append(Member("access_log", accessLog.document)) }
    if let tracing { members.append(Member("tracing", tracing.document)) }
    if let admin {
      members.append(
        Member("admin", .object([Member("address", .text(admin.address.description))])))
    }
    members += [
      Member("limits", limits.document), Member("via", viaDocument),
      Member(
        "drain",
        .object(
          [Member("deadline", duration(drain.deadlineNanoseconds))]
            + (drain.tunnelsNanoseconds.map { [Member("tunnels", duration($0))] } ?? []))),
      Member("reload", .object([Member("watch", .boolean(reload.watch))])),
    ]
    return .object(members)
  }

  private var engineDocument: JSONValue {
    var members = [Member("kind", .text(engine.rawValue))]
    for name in engineSettings.features.keys.sorted() {
      members.append(Member(name, .boolean(engineSettings.features[name] ?? false)))
    }
    for (name, value) in [
      ("sqpoll_idle", engineSettings.submissionThreadIdle),
      ("sqpoll_cpu", engineSettings.submissionThreadCPU),
      ("batch_completions", engineSettings.batchCompletions),
      ("batch_microseconds", engineSettings.batchMicroseconds),
      ("busy_poll_microseconds", engineSettings.busyPollMicroseconds),
      ("busy_poll_budget", engineSettings.busyPollBudget),
      ("coalesce_microseconds", engineSettings.coalesceMicroseconds),
    ] {
      if let value { members.append(Member(name, .count(value))) }
    }
    return .object(members)
  }

  private var workersDocument: JSONValue {
    switch workers {
    case .automatic: .text("auto")
    case .count(let count): .count(count)
    }
  }

  private var viaDocument: JSONValue {
    switch via {
    case .off: .text("off")
    case .pseudonym(let text): .text(text)
    }
  }

  private func name(ofUpstream index: Int) -> JSONValue {
    .optional(upstreams.indices.contains(index) ? upstreams[index].name : nil)
  }

  private func document(_ listener: ListenerConfiguration) -> JSONValue {
    var members = [
      Member("name", .text(listener.name)), Member("address", .text(listener.address.description)),
    ]
    if let relay = listener.relay {
      members.append(Member("protocol", .text("relay")))
      if let upstream = relay.upstream {
        members.append(Member("upstream", name(ofUpstream: upstream)))
      }
      members.append(
        Member(
          "sni",
          .array(
            relay.names.map {
              .object([
                Member("name", .text($0.name)), Member("upstream", name(ofUpstream: $0.upstream)),
              ])
            })))
    } else {
      members.append(Member("protocol", .text("http")))
      members.append(Member("http_versions", texts(listener.httpVersions.map(\.rawValue))))
    }
    if let tls = listener.tls {
      let certificates = tls.certificates.map {
        JSONValue.object([Member("certificate", .text($0.certificatePath))])
      }
      members.append(
        Member(
          "tls",
          .object([
            Member("certificates", .array(certificates)),
            Member("minimum_version", .text(tls.minimumVersion.rawValue)),
            Member("record_layer", .text(tls.recordLayer.rawValue)),
          ])))
    }
    let timeouts = listener.timeouts
    members += [
      Member("underscores", .text(listener.underscores.rawValue)),
      Member("access_log", .text(listener.logsAccess ? "on" : "off")),
      Member(
        "timeouts",
        .object([
          Member("head", duration(timeouts.headNanoseconds)),
          Member("body", duration(timeouts.bodyNanoseconds)),
          Member("idle", duration(timeouts.idleNanoseconds)),
          Member("keep_alive_ping", duration(timeouts.keepAlivePingNanoseconds)),
          Member("keep_alive_ack", duration(timeouts.keepAliveAckNanoseconds)),
        ])),
    ]
    return .object(members)
  }

  private func document(_ route: RouteConfiguration) -> JSONValue {
    var match: [Member] = []
    if let index = route.listener, listeners.indices.contains(index) {
      match.append(Member("listener", .text(listeners[index].name)))
    }
    if let host = route.host { match.append(Member("host", .text(host))) }
    switch route.path {
    case .any: break
    case .prefix(let path): match.append(Member("path", .text(path)))
    case .exact(let path): match.append(Member("path_exact", .text(path)))
    }
    return .object([
      Member("match", .object(match)), Member("upstream", name(ofUpstream: route.upstream)),
      Member("access_log", .text(route.logsAccess ? "on" : "off")),
    ])
  }
}

extension UpstreamConfiguration {
  fileprivate var document: JSONValue {
    var members = [
      Member("protocol", .text(speaks.rawValue)),
      Member(
        "servers",
        .array(
          servers.map {
            .object([
              Member("address", .text($0.address.description)), Member("weight", .count($0.weight)),
            ])
          })),
    ]
    if let tls { members.append(Member("tls", tls.document)) }
    var conditions: [String] = []
    if retries.onConnectFailure { conditions.append("connect_failure") }
    if retries.onResetBeforeResponse { conditions.append("reset_before_response") }
    members += [
      Member("balance", .text(balance.rawValue)),
      Member(
        "retries",
        .object([Member("attempts", .count(retries.attempts)), Member("on", texts(conditions))])),
      Member(
        "timeouts",
        .object([
          Member("connect", duration(timeouts.connectNanoseconds)),
          Member("response", duration(timeouts.responseNanoseconds)),
          Member("idle", duration(timeouts.idleNanoseconds)),
          Member("tunnel", duration(timeouts.tunnelNanoseconds)),
          Member("keep_alive_ping", duration(timeouts.keepAlivePingNanoseconds)),
          Member("keep_alive_ack", duration(timeouts.keepAliveAckNanoseconds)),
        ])),
      Member("upgrades", texts(upgrades)), Member("idle_connections", .count(idleConnections)),
      Member("default_host", .text(defaultHost ?? UpstreamConfiguration.fallbackHost)),
    ]
    if let address = source.address { members.append(Member("source_address", .text(address))) }
    if let ports = source.ports {
      members.append(Member("source_ports", .text("\(ports.lowerBound)-\(ports.upperBound)")))
    }
    return .object(members)
  }
}

extension UpstreamTLS {
  fileprivate var document: JSONValue {
    var members = [Member("verify", .boolean(verify))]
    if let caPath { members.append(Member("ca", .text(caPath))) }
    if let serverName { members.append(Member("server_name", .text(serverName))) }
    if let certificate {
      members.append(Member("certificate", .text(certificate.certificatePath)))
    }
    members += [
      Member("minimum_version", .text(minimumVersion.rawValue)), Member("alpn", texts(alpn)),
    ]
    return .object(members)
  }
}

extension AuditConfiguration {
  fileprivate var document: JSONValue {
    .object([
      Member("directory", .text(directory)), Member("durability", .text(durability.rawValue)),
      Member("interval", duration(intervalNanoseconds)),
      Member("when_full", .text(whenFull.rawValue)), Member("hold", duration(holdNanoseconds)),
      Member(
        "segment",
        .object([
          Member("size", .text(sizeText(segmentSize))),
          Member("age", duration(segmentAgeNanoseconds)),
        ])),
      Member("redact_query", .boolean(redactQuery)),
    ])
  }
}

extension LimitsConfiguration {
  fileprivate var document: JSONValue {
    .object([
      Member("connections", .count(connections)), Member("streams", .count(exchanges)),
      Member("request_head", .text(sizeText(requestHead))),
      Member("request_target", .text(sizeText(requestTarget))),
      Member("request_fields", .count(requestFields)),
    ])
  }
}
