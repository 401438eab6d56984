// The configuration as the loop wants it: plain memory, compiled once, read by every worker and
// written by none. It lives as long as its generation (PlanGeneration.swift); nothing in it is
// counted.

import Configuration
import Glibc
import MillraceEngine
import TLS
import Transport

/// Bytes that live as long as the plan that they belong to.
struct PlanBytes {
  let start: UnsafePointer<UInt8>
  let count: Int

  init(_ text: String, _ memory: inout PlanMemory) {
    let bytes = memory.keep(Array(text.utf8))
    // TRAP: `keep` gives memory of at least one byte.
    start = bytes.baseAddress!
    count = bytes.count
  }

  @inline(__always)
  var raw: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: start, count: count) }
}

struct ListenerPlan {
  let name: PlanBytes
  let address: SocketAddress
  /// Retained by the generation.
  let tls: Unmanaged<TLSContext>?
  let headTimeout: Int64
  let bodyTimeout: Int64
  let idleTimeout: Int64
  /// When clients of HTTP/2 that are silent are asked for a sign of life.
  let ping: PingRules
  /// Fields with an underscore in their name are dropped.
  let dropsUnderscores: Bool
  /// HTTP/2 is served: with TLS by ALPN, without by prior knowledge.
  let servesHTTP2: Bool
  /// HTTP/1.1 and HTTP/1.0 are.
  let servesHTTP1: Bool
  /// Its connections are passed on as they are.
  let relays: Bool
  /// Where those go that ask for none of the names; -1: nowhere.
  let relayUpstream: Int32
  /// Names of SNI; none: no byte is looked at.
  let relayNames: UnsafeBufferPointer<RelayNamePlan>
  /// Where its figures are in each worker's block of metrics: the same in every plan that has it.
  let row: Int32
  /// How the lines of its exchanges look in the access log; nil: they have none.
  let access: UnsafePointer<AccessPlan>?
  /// What makes it the same listener as one of another plan (`ListenerIdentity`).
  let identity: ListenerIdentity
  /// No request is waited for on its connections any more. A worker's copy alone says so.
  var isEnding = false
}

struct RelayNamePlan {
  let isWildcard: Bool
  /// Lower case; of a wildcard the part from the dot on.
  let name: PlanBytes
  let upstream: Int32
}

struct RoutePlan {
  enum Host { case any, exact, wildcard }
  enum Path { case any, prefix, exact }
  /// Index of the only listener that the route is for, or -1.
  let listener: Int32
  let hostKind: Host
  /// Lower case, without a trailing dot; of a wildcard the part from the dot on.
  let host: PlanBytes
  let pathKind: Path
  let path: PlanBytes
  let upstream: Int32
  /// Where its figures are in each worker's block of metrics.
  let row: Int32
  /// What it matches, as metrics say it.
  let label: PlanBytes
  /// Its exchanges have lines in the access log.
  let logsAccess: Bool
}

struct ServerPlan {
  /// At least one, in the resolver's order (RFC 6724): ways to the one server.
  let addresses: UnsafeBufferPointer<SocketAddress>
  let text: PlanBytes
  /// The name that its certificate must be for: the upstream's, or its own without the port.
  let host: PlanBytes
  let weight: Int32
  /// Whether requests may be sent to it.
  let admission: ServerSwitch
  /// Where its figures are in each worker's block of metrics: the same in every plan that has it.
  let row: Int32
}

struct UpstreamPlan {
  let name: PlanBytes
  let servers: UnsafeBufferPointer<ServerPlan>
  let balance: Balance
  let attempts: Int
  let retryOnConnectFailure: Bool
  let retryOnReset: Bool
  let connectTimeout: Int64
  let responseTimeout: Int64
  let idleTimeout: Int64
  /// Of tunnels.
  let tunnelTimeout: Int64
  /// When servers of HTTP/2 that are silent are asked for a sign of life.
  let ping: PingRules
  /// Protocols that may be switched to, in lower case.
  let upgrades: UnsafeBufferPointer<PlanBytes>
  let idleLimit: Int
  /// Host of a request that names none.
  let defaultHost: PlanBytes
  /// The local end of connections, or nil where the kernel chooses it.
  let origin: ConnectionOrigin?
  /// Connections to its servers have TLS. Retained by the generation.
  let tls: Unmanaged<TLSClientContext>?
  /// What is spoken with them.
  let speaks: UpstreamProtocol
  /// Where its figures are in each worker's block of metrics.
  let row: Int32
}

/// Everything that workers read.
struct Plan: @unchecked Sendable {
  // Sendable: all of it is immutable after `init`, and freed with the generation only.
  let listeners: UnsafeBufferPointer<ListenerPlan>
  let routes: UnsafeBufferPointer<RoutePlan>
  let upstreams: UnsafeBufferPointer<UpstreamPlan>
  let limits: LimitsConfiguration
  /// The pseudonym in Via (RFC 9110 7.6.3); empty: no Via is written.
  let via: PlanBytes
  let drainDeadline: Int64
  /// Of tunnels, when another process has taken this one's place; Int64.max: none.
  let tunnelDeadline: Int64
  let audit: AuditConfiguration?
  /// Timers are looked at as often as the shortest timeout asks for.
  let shortestTimeout: Int64
  /// How often a connection is looked at that sends, or that is not read: an eighth of the shortest
  /// time that a send may stall, so that it is cut an eighth too late at most; a second at most, so
  /// that one that was reset is let go soon; and not more often than the wheel can tell apart.
  let lookInterval: Int64
  /// Listeners prefer connections whose packets arrive on their worker's CPU.
  let placesByCPU: Bool
  /// Connections go to the worker that serves the device queue (NAPI instance) they came by.
  let placesByQueue: Bool

  init(
    _ configuration: ProxyConfiguration, listenerAddresses: [SocketAddress],
    serverAddresses: [[[SocketAddress]]], contexts: [TLSContext?],
    clientContexts: [TLSClientContext?], identities: [ListenerIdentity], metrics: ProxyMetrics,
    memory: inout PlanMemory
  ) {
    var shortest = Int64.max
    func timeout(_ value: Int64) -> Int64 {
      shortest = min(shortest, value)
      return value
    }
    func ping(
      _ interval: Int64, _ answerLimit: Int64, among speakers: Bool, growsRare: Bool
    ) -> PingRules {
      if speakers && interval > 0 { shortest = min(shortest, interval) }
      if speakers { shortest = min(shortest, answerLimit) }
      return PingRules(
        interval: interval, answerLimit: answerLimit, growsRare: growsRare)
    }
    let access = configuration.accessLog.flatMap { access in
      memory.keep([AccessPlan(access, &memory)]).baseAddress
    }
    listeners = memory.keep(
      configuration.listeners.enumerated().map { index, listener in
        ListenerPlan(
          name: PlanBytes(listener.name, &memory), address: listenerAddresses[index],
          tls: contexts[index].map { Unmanaged.passRetained($0) },
          headTimeout: timeout(listener.timeouts.headNanoseconds),
          bodyTimeout: timeout(listener.timeouts.bodyNanoseconds),
          idleTimeout: timeout(listener.timeouts.idleNanoseconds),
          ping: ping(
            listener.timeouts.keepAlivePingNanoseconds, listener.timeouts.keepAliveAckNanoseconds,
            among: listener.httpVersions.contains(.http2), growsRare: false),
          dropsUnderscores: listener.underscores == .drop,
          servesHTTP2: listener.httpVersions.contains(.http2),
          servesHTTP1: listener.httpVersions.contains(.http11),
          relays: listener.relay != nil, relayUpstream: Int32(listener.relay?.upstream ?? -1),
          relayNames: memory.keep(
            (listener.relay?.names ?? []).map { name in
              let isWildcard = name.name.hasPrefix("*.")
              return RelayNamePlan(
                isWildcard: isWildcard,
                name: PlanBytes(isWildcard ? String(name.name.dropFirst()) : name.name, &memory),
                upstream: Int32(name.upstream))
            }),
          row: metrics.row(listener: listenerAddresses[index].description),
          access: listener.logsAccess ? access : nil,
          identity: index < identities.count
            ? identities[index] : ListenerIdentity(socket: Int32(index), listener))
      })
    routes = memory.keep(
      configuration.routes.map { route in
        RoutePlan(
          route, row: metrics.row(route: route, of: configuration),
          label: route.label(in: configuration), &memory)
      })
    upstreams = memory.keep(
      configuration.upstreams.enumerated().map { index, upstream in
        let source = origin(upstream.source)
        return UpstreamPlan(
          name: PlanBytes(upstream.name, &memory),
          servers: memory.keep(
            upstream.servers.enumerated().map { serverIndex, server in
              ServerPlan(
                addresses: memory.keep(
                  reachable(serverAddresses[index][serverIndex], from: source)),
                text: PlanBytes(server.address.description, &memory),
                host: PlanBytes(
                  upstream.tls?.serverName ?? host(of: server.address), &memory),
                weight: Int32(server.weight),
                admission: metrics.switches.cell(
                  upstream: upstream.name, server: server.address.description),
                row: metrics.row(
                  upstream: upstream.name, server: server.address.description))
            }),
          balance: upstream.balance, attempts: upstream.retries.attempts,
          retryOnConnectFailure: upstream.retries.onConnectFailure,
          retryOnReset: upstream.retries.onResetBeforeResponse,
          connectTimeout: timeout(upstream.timeouts.connectNanoseconds),
          responseTimeout: timeout(upstream.timeouts.responseNanoseconds),
          idleTimeout: timeout(upstream.timeouts.idleNanoseconds),
          tunnelTimeout: timeout(upstream.timeouts.tunnelNanoseconds),
          ping: ping(
            upstream.timeouts.keepAlivePingNanoseconds, upstream.timeouts.keepAliveAckNanoseconds,
            among: upstream.speaks != .http11, growsRare: true),
          upgrades: memory.keep(upstream.upgrades.map { PlanBytes($0, &memory) }),
          idleLimit: upstream.idleConnections,
          defaultHost: PlanBytes(
            upstream.defaultHost ?? UpstreamConfiguration.fallbackHost, &memory),
          origin: source,
          tls: index < clientContexts.count
            ? clientContexts[index].map { Unmanaged.passRetained($0) } : nil,
          speaks: upstream.speaks, row: metrics.row(upstream: upstream.name))
      })
    limits = configuration.limits
    via =
      switch configuration.via {
      case .off: PlanBytes("", &memory)
      case .pseudonym(let text): PlanBytes(text, &memory)
      }
    drainDeadline = configuration.drain.deadlineNanoseconds
    tunnelDeadline = configuration.drain.tunnelsNanoseconds ?? .max
    audit = configuration.audit
    shortestTimeout = shortest
    let stalls =
      configuration.listeners.map(\.timeouts.bodyNanoseconds)
      + configuration.upstreams.map(\.timeouts.responseNanoseconds)
    let wanted = min((stalls.min() ?? .max) / 8, 1_000_000_000)
    lookInterval = min(shortest, max(TimerWheel.tickNanoseconds, wanted))
    placesByCPU = configuration.placement == .cpu
    placesByQueue = configuration.placement == .queue
  }
}

/// A UNIX socket's server has no name.
private func host(of address: EndpointAddress) -> String {
  if case .ip(let host, _) = address { return host }
  return ""
}

/// The address was checked to be one when it was read.
private func origin(_ source: SourceConfiguration) -> ConnectionOrigin? {
  guard source.address != nil || source.ports != nil else { return nil }
  let address = source.address.flatMap {
    try? SocketAddress.resolve(host: $0, port: 0, passive: true).first
  }
  return ConnectionOrigin(address: address, ports: source.ports)
}

/// The addresses of the source's family, where a source is configured; all if none is of it, so that
/// the failure is the kernel's to name.
private func reachable(
  _ addresses: [SocketAddress], from source: ConnectionOrigin?
) -> [SocketAddress] {
  guard let family = source?.address?.family else { return addresses }
  let matching = addresses.filter { $0.isUnix || $0.family == family }
  return matching.isEmpty ? addresses : matching
}

extension RoutePlan {
  init(
    _ route: RouteConfiguration, row: Int32, label: String = "", _ memory: inout PlanMemory
  ) {
    self.row = row
    self.label = PlanBytes(label, &memory)
    logsAccess = route.logsAccess
    listener = Int32(route.listener ?? -1)
    switch route.host {
    case nil:
      hostKind = .any
      host = PlanBytes("", &memory)
    case let name? where name.hasPrefix("*."):
      hostKind = .wildcard
      host = PlanBytes(String(name.dropFirst().lowercased()), &memory)
    case let name?:
      hostKind = .exact
      host = PlanBytes(name.lowercased(), &memory)
    }
    switch route.path {
    case .any:
      pathKind = .any
      path = PlanBytes("", &memory)
    case .prefix(let prefix):
      // "/" matches every path, and "/api/" the same as "/api": a prefix is whole segments.
      var trimmed = prefix
      while trimmed.hasSuffix("/") { trimmed.removeLast() }
      pathKind = trimmed.isEmpty ? .any : .prefix
      path = PlanBytes(trimmed, &memory)
    case .exact(let exact):
      pathKind = .exact
      path = PlanBytes(exact, &memory)
    }
    upstream = Int32(route.upstream)
  }
}

extension ProxyMetrics {
  /// The row of a route of a configuration.
  fileprivate func row(route: RouteConfiguration, of configuration: ProxyConfiguration) -> Int32 {
    let upstream =
      configuration.upstreams.indices.contains(route.upstream)
      ? configuration.upstreams[route.upstream].name : ""
    return row(route: route.label(in: configuration), upstream: upstream)
  }
}

extension RouteConfiguration {
  fileprivate func label(in configuration: ProxyConfiguration) -> String {
    label(
      listener: listener.flatMap {
        configuration.listeners.indices.contains($0) ? configuration.listeners[$0].name : nil
      })
  }

  /// What it matches, in one word: `shop.example/api/*`, `edge:*`.
  package func label(listener: String?) -> String {
    let path =
      switch path {
      case .any: "/*"
      case .prefix(let prefix): prefix.hasSuffix("/") ? prefix + "*" : prefix + "/*"
      case .exact(let exact): exact
      }
    return (listener.map { $0 + "|" } ?? "") + (host ?? "*") + path
  }
}
