// A worker's figures as the code that counts them names them: `counters.retries += 1` is a load, an
// addition and a store in memory that only this worker writes. A snapshot has the same names.

import Metrics

/// What has the worker's own figures.
package protocol WorkerCounting {
  subscript(_ place: WorkerCounterPlace) -> Int { get set }
}

/// The place of a worker's own figure.
package struct WorkerCounterPlace {
  let metric: WorkerMetric
}

// Explained where the families are: `WorkerMetric`.
extension WorkerCounting {
  package var accepted: Int {
    @inline(__always) get { self[.init(metric: .accepted)] }
    @inline(__always) set { self[.init(metric: .accepted)] = newValue }
  }
  package var refused: Int {
    @inline(__always) get { self[.init(metric: .refused)] }
    @inline(__always) set { self[.init(metric: .refused)] = newValue }
  }
  package var streamsRefused: Int {
    @inline(__always) get { self[.init(metric: .streamsRefused)] }
    @inline(__always) set { self[.init(metric: .streamsRefused)] = newValue }
  }
  package var acceptedElsewhere: Int {
    @inline(__always) get { self[.init(metric: .acceptedElsewhere)] }
    @inline(__always) set { self[.init(metric: .acceptedElsewhere)] = newValue }
  }
  package var handedOver: Int {
    @inline(__always) get { self[.init(metric: .handedOver)] }
    @inline(__always) set { self[.init(metric: .handedOver)] = newValue }
  }
  package var requests: Int {
    @inline(__always) get { self[.init(metric: .requests)] }
    @inline(__always) set { self[.init(metric: .requests)] = newValue }
  }
  package var responses: Int {
    @inline(__always) get { self[.init(metric: .responses)] }
    @inline(__always) set { self[.init(metric: .responses)] = newValue }
  }
  package var http2Floods: Int {
    @inline(__always) get { self[.init(metric: .http2Floods)] }
    @inline(__always) set { self[.init(metric: .http2Floods)] = newValue }
  }
  package var http2PingTimeouts: Int {
    @inline(__always) get { self[.init(metric: .http2PingTimeouts)] }
    @inline(__always) set { self[.init(metric: .http2PingTimeouts)] = newValue }
  }
  package var badRequests: Int {
    @inline(__always) get { self[.init(metric: .badRequests)] }
    @inline(__always) set { self[.init(metric: .badRequests)] = newValue }
  }
  package var fieldsDropped: Int {
    @inline(__always) get { self[.init(metric: .fieldsDropped)] }
    @inline(__always) set { self[.init(metric: .fieldsDropped)] = newValue }
  }
  package var upstreamConnects: Int {
    @inline(__always) get { self[.init(metric: .upstreamConnects)] }
    @inline(__always) set { self[.init(metric: .upstreamConnects)] = newValue }
  }
  package var upstreamReuses: Int {
    @inline(__always) get { self[.init(metric: .upstreamReuses)] }
    @inline(__always) set { self[.init(metric: .upstreamReuses)] = newValue }
  }
  package var upstreamFailures: Int {
    @inline(__always) get { self[.init(metric: .upstreamFailures)] }
    @inline(__always) set { self[.init(metric: .upstreamFailures)] = newValue }
  }
  package var upstreamStale: Int {
    @inline(__always) get { self[.init(metric: .upstreamStale)] }
    @inline(__always) set { self[.init(metric: .upstreamStale)] = newValue }
  }
  package var retries: Int {
    @inline(__always) get { self[.init(metric: .retries)] }
    @inline(__always) set { self[.init(metric: .retries)] = newValue }
  }
  package var timeouts: Int {
    @inline(__always) get { self[.init(metric: .timeouts)] }
    @inline(__always) set { self[.init(metric: .timeouts)] = newValue }
  }
  package var downstreamAborts: Int {
    @inline(__always) get { self[.init(metric: .downstreamAborts)] }
    @inline(__always) set { self[.init(metric: .downstreamAborts)] = newValue }
  }
  package var handshakes: Int {
    @inline(__always) get { self[.init(metric: .handshakes)] }
    @inline(__always) set { self[.init(metric: .handshakes)] = newValue }
  }
  package var handshakeFailures: Int {
    @inline(__always) get { self[.init(metric: .handshakeFailures)] }
    @inline(__always) set { self[.init(metric: .handshakeFailures)] = newValue }
  }
  package var tlsFloods: Int {
    @inline(__always) get { self[.init(metric: .tlsFloods)] }
    @inline(__always) set { self[.init(metric: .tlsFloods)] = newValue }
  }
  package var tlsStalls: Int {
    @inline(__always) get { self[.init(metric: .tlsStalls)] }
    @inline(__always) set { self[.init(metric: .tlsStalls)] = newValue }
  }
  package var upstreamHandshakes: Int {
    @inline(__always) get { self[.init(metric: .upstreamHandshakes)] }
    @inline(__always) set { self[.init(metric: .upstreamHandshakes)] = newValue }
  }
  package var upstreamHandshakesResumed: Int {
    @inline(__always) get { self[.init(metric: .upstreamHandshakesResumed)] }
    @inline(__always) set { self[.init(metric: .upstreamHandshakesResumed)] = newValue }
  }
  package var upstreamHandshakeFailures: Int {
    @inline(__always) get { self[.init(metric: .upstreamHandshakeFailures)] }
    @inline(__always) set { self[.init(metric: .upstreamHandshakeFailures)] = newValue }
  }
  package var auditRejects: Int {
    @inline(__always) get { self[.init(metric: .auditRejects)] }
    @inline(__always) set { self[.init(metric: .auditRejects)] = newValue }
  }
  package var auditDrops: Int {
    @inline(__always) get { self[.init(metric: .auditDrops)] }
    @inline(__always) set { self[.init(metric: .auditDrops)] = newValue }
  }
  package var auditWaits: Int {
    @inline(__always) get { self[.init(metric: .auditWaits)] }
    @inline(__always) set { self[.init(metric: .auditWaits)] = newValue }
  }
  package var unansweredByAudit: Int {
    @inline(__always) get { self[.init(metric: .unansweredByAudit)] }
    @inline(__always) set { self[.init(metric: .unansweredByAudit)] = newValue }
  }
  package var holdsExpired: Int {
    @inline(__always) get { self[.init(metric: .holdsExpired)] }
    @inline(__always) set { self[.init(metric: .holdsExpired)] = newValue }
  }
  package var holdsRefused: Int {
    @inline(__always) get { self[.init(metric: .holdsRefused)] }
    @inline(__always) set { self[.init(metric: .holdsRefused)] = newValue }
  }
  package var plansInstalled: Int {
    @inline(__always) get { self[.init(metric: .plansInstalled)] }
    @inline(__always) set { self[.init(metric: .plansInstalled)] = newValue }
  }
  package var plansDelayed: Int {
    @inline(__always) get { self[.init(metric: .plansDelayed)] }
    @inline(__always) set { self[.init(metric: .plansDelayed)] = newValue }
  }
  package var framesExhausted: Int {
    @inline(__always) get { self[.init(metric: .framesExhausted)] }
    @inline(__always) set { self[.init(metric: .framesExhausted)] = newValue }
  }
  package var tunnels: Int {
    @inline(__always) get { self[.init(metric: .tunnels)] }
    @inline(__always) set { self[.init(metric: .tunnels)] = newValue }
  }
  package var tunnelPassages: Int {
    @inline(__always) get { self[.init(metric: .tunnelPassages)] }
    @inline(__always) set { self[.init(metric: .tunnelPassages)] = newValue }
  }
  package var tunnelsCut: Int {
    @inline(__always) get { self[.init(metric: .tunnelsCut)] }
    @inline(__always) set { self[.init(metric: .tunnelsCut)] = newValue }
  }
}

/// The figures of one worker, for its thread. A listener's or a server's are reached by their row
/// (`ProxyMetrics`): the first cell of it.
struct WorkerCounters: WorkerCounting {
  let block: MetricBlock
  /// Somebody outside of the process reads: what is published is to be kept up to date.
  let isWatched: Bool
  /// The first cell of `EndingMetric`.
  let endings: Int
  /// When to publish next, in monotonic nanoseconds; Int64.max: nothing has happened since.
  var publishAt = Int64.max

  static let publishInterval: Int64 = 10_000_000

  init(_ block: MetricBlock, isWatched: Bool, endings: Int) {
    self.block = block
    self.endings = endings
    self.isWatched = isWatched
  }

  // The group of the worker's own figures is the first one.
  @inline(__always) subscript(_ place: WorkerCounterPlace) -> Int {
    get { block[MetricBlock.firstCell + place.metric.rawValue] }
    nonmutating set { block[MetricBlock.firstCell + place.metric.rawValue] = newValue }
  }

  /// A published figure; its group follows that of the worker's own ones.
  subscript(_ metric: PublishedMetric) -> Int {
    get { block[Self.publishedCell + metric.rawValue] }
    nonmutating set { block[Self.publishedCell + metric.rawValue] = newValue }
  }

  private static let publishedCell = MetricBlock.firstCell + WorkerMetric.allCases.count

  /// A figure of a listener.
  @inline(__always) subscript(listener row: Int32, _ metric: ListenerMetric) -> Int {
    get { block[Int(row) + metric.rawValue] }
    nonmutating set { block[Int(row) + metric.rawValue] = newValue }
  }

  /// A figure of a server.
  @inline(__always) subscript(server row: Int32, _ metric: ServerMetric) -> Int {
    get { block[Int(row) + metric.rawValue] }
    nonmutating set { block[Int(row) + metric.rawValue] = newValue }
  }

  /// The figures now.
  var snapshot: WorkerCounts {
    WorkerCounts(values: WorkerMetric.allCases.map { self[WorkerCounterPlace(metric: $0)] })
  }

  /// A handshake that was completed.
  func countHandshake(listener: Int32, isTLS13: Bool) {
    self[listener: listener, isTLS13 ? .handshakes13 : .handshakes12] += 1
  }

  /// The end of a response, whole or cut.
  /// - Parameters:
  ///   - server: the row of the server that gave it; below 0: it was the proxy's own.
  ///   - status: what is above 599 is taken for the fifth class (RFC 9110 15).
  @inline(__always)
  func countResponse(
    listener: Int32, server: Int32, status: UInt16, requestBytes: UInt64, responseBytes: UInt64
  ) {
    guard status >= 200 else {
      if status == 101 {
        countTunnel(listener: listener, server: server, requestBytes, responseBytes)
      }
      return
    }
    let statusClass = min(Int(status) / 100, 5) - 2
    let received = Int(truncatingIfNeeded: requestBytes)
    let sent = Int(truncatingIfNeeded: responseBytes)
    block[Int(listener) + ListenerMetric.responses2xx.rawValue + statusClass] += 1
    block[Int(listener) + ListenerMetric.requestBytes.rawValue] &+= received
    block[Int(listener) + ListenerMetric.responseBytes.rawValue] &+= sent
    guard server >= 0 else { return }
    block[Int(server) + ServerMetric.responses2xx.rawValue + statusClass] += 1
    block[Int(server) + ServerMetric.requestBytes.rawValue] &+= received
    block[Int(server) + ServerMetric.responseBytes.rawValue] &+= sent
  }

  /// A tunnel that began with a 101, or without a status, is of no class; its bytes are those of both directions of the tunnel.
  @inline(never)
  func countTunnel(
    listener: Int32, server: Int32, _ requestBytes: UInt64, _ responseBytes: UInt64
  ) {
    let received = Int(truncatingIfNeeded: requestBytes)
    let sent = Int(truncatingIfNeeded: responseBytes)
    block[Int(listener) + ListenerMetric.requestBytes.rawValue] &+= received
    block[Int(listener) + ListenerMetric.responseBytes.rawValue] &+= sent
    guard server >= 0 else { return }
    block[Int(server) + ServerMetric.requestBytes.rawValue] &+= received
    block[Int(server) + ServerMetric.responseBytes.rawValue] &+= sent
  }
}

/// A worker's own figures at one moment.
package struct WorkerCounts: WorkerCounting, Sendable {
  private var values: [Int]

  fileprivate init(values: [Int]) { self.values = values }

  package init() { values = Array(repeating: 0, count: WorkerMetric.allCases.count) }

  package subscript(_ place: WorkerCounterPlace) -> Int {
    get { values[place.metric.rawValue] }
    set { values[place.metric.rawValue] = newValue }
  }
}
