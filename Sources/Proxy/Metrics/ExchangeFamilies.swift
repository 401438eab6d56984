// What is counted at the end of an exchange: by upstream, by route, and by how it ended. And what a worker
// counts of its audit log's commits and of handshakes that fail.

import Exchange
import Metrics
import TLS

/// What is counted for each upstream: three histograms, one behind the other.
enum UpstreamMetric: Int, CaseIterable {
  case duration, firstByte, connect

  /// The first cell of its histogram in a row.
  @inline(__always) var cell: Int { rawValue * LatencyHistogram.width }

  var name: String {
    switch self {
    case .duration: "upstream_duration"
    case .firstByte: "upstream_first_byte"
    case .connect: "upstream_connect"
    }
  }

  /// What a scraper reads it as.
  var exposedName: String {
    switch self {
    case .duration: "upstream_request_duration_seconds"
    case .firstByte: "upstream_first_byte_duration_seconds"
    case .connect: "upstream_connect_duration_seconds"
    }
  }

  var help: String {
    switch self {
    case .duration:
      "Time from a request's head to the end of its exchange; tunnels are left out."
    case .firstByte: "Time from a request's head to the head of its upstream's response."
    case .connect: "Time that new connections to servers took, TLS handshake included."
    }
  }

  static var columns: [MetricColumn] {
    allCases.flatMap { LatencyHistogram.columns($0.name, $0.help) }
  }
}

/// What is counted for each route.
enum RouteMetric {
  static let classes = ["2xx", "3xx", "4xx", "5xx"]

  static var columns: [MetricColumn] {
    let family = MetricFamily(
      "route_requests", "requests",
      "Requests by route, upstream and status class of the response, including incomplete ones.")
    return classes.map { MetricColumn(family, MetricColumn.Label("class", $0)) }
  }
}

/// Why a TLS handshake with a client failed: what an operator can tell apart, and the rest.
enum HandshakeCause: Int, CaseIterable {
  case alert, noSharedCipher, version, protocols, notTLS, closed, other

  init(_ kind: TLSFailure.Kind?) {
    self =
      switch kind {
      case nil, .truncated: .closed
      case .alertReceived: .alert
      case .noSharedCipher, .noSharedGroup, .noSharedSignature: .noSharedCipher
      case .unsupportedVersion: .version
      case .noApplicationProtocol: .protocols
      case .notTLS: .notTLS
      default: .other
      }
  }

  var label: String {
    switch self {
    case .alert: "alert_received"
    case .noSharedCipher: "no_shared_cipher"
    case .version: "unsupported_version"
    case .protocols: "no_application_protocol"
    case .notTLS: "not_tls"
    case .closed: "closed"
    case .other: "other"
    }
  }
}

/// What a worker counts besides its own figures, which are the line that SIGUSR1 asks for.
enum EndingMetric {
  // Places of the cells: how exchanges ended, then failed handshakes, then the log's commits.
  @inline(__always) static func ending(_ kind: Failure.Kind) -> Int { Int(kind.rawValue) }
  static let handshakes = Failure.Kind.allCases.count
  static let commits = handshakes + HandshakeCause.allCases.count

  static var columns: [MetricColumn] {
    let endings = MetricFamily("terminations", "exchanges", "Exchanges by how they ended.")
    let failures = MetricFamily(
      "tls_handshake_failures", "handshakes", "Failed TLS handshakes with clients, by cause.")
    return Failure.Kind.allCases.map {
      MetricColumn(endings, MetricColumn.Label("reason", label($0)))
    }
      + HandshakeCause.allCases.map {
        MetricColumn(failures, MetricColumn.Label("reason", $0.label))
      }
      + LatencyHistogram.columns(
        "audit_commit", "Time from the write of a batch of records until it is durable.")
  }

  /// The failure's label; two failures that share one in the audit log are told apart.
  static func label(_ kind: Failure.Kind) -> String {
    switch kind {
    case .headTimeout: "head_timeout"
    case .downstreamUnsendable: "tls_output_too_large"
    default: "\(Failure(kind).label)"
    }
  }
}
