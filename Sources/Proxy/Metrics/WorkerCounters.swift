// A worker's figures as the code that counts them names them: `counters.retries += 1` is a load, an
// addition and a store in memory that only this worker writes. A snapshot has the same names.

import Metrics
import MillraceEngine
import TLS

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
  package var framesExhausted: Int {
    @inline(__always) get { self[.init(metric: .framesExhausted)] }
    @inline(__always) set { self[.init(metric: .framesExhausted)] = newValue }
  }
}

/// The figures of one worker, for its thread.
struct WorkerCounters: WorkerCounting {
  let block: MetricBlock
  let rows: MetricRows
  /// Somebody outside of the process reads: what is published is to be kept up to date.
  let isWatched: Bool
  /// When to publish next, in monotonic nanoseconds; Int64.max: nothing has happened since.
  var publishAt = Int64.max

  static let publishInterval: Int64 = 10_000_000

  init(_ block: MetricBlock, _ rows: MetricRows, isWatched: Bool) {
    self.block = block
    self.rows = rows
    self.isWatched = isWatched
  }

  // The group of the worker's own figures is the first one.
  @inline(__always) subscript(_ place: WorkerCounterPlace) -> Int {
    get { block[MetricLayout.blockHead + place.metric.rawValue] }
    nonmutating set { block[MetricLayout.blockHead + place.metric.rawValue] = newValue }
  }

  /// A figure of a listener, by its index in the plan.
  @inline(__always) subscript(listener index: Int32, _ metric: ListenerMetric) -> Int {
    get { block[rows.listener(index) + metric.rawValue] }
    nonmutating set { block[rows.listener(index) + metric.rawValue] = newValue }
  }

  /// A figure of a server, by the indices of its upstream and its own in the plan.
  @inline(__always) subscript(upstream: Int32, server: Int32, _ metric: ServerMetric) -> Int {
    get { block[rows.server(upstream, server) + metric.rawValue] }
    nonmutating set { block[rows.server(upstream, server) + metric.rawValue] = newValue }
  }

  /// The figures now.
  var snapshot: WorkerCounts {
    WorkerCounts(values: WorkerMetric.allCases.map { self[WorkerCounterPlace(metric: $0)] })
  }

  /// A handshake that was completed.
  func countHandshake(_ listener: Int32, _ version: TLSVersion) {
    self[listener: listener, version == .tls13 ? .handshakes13 : .handshakes12] += 1
  }

  // MARK: Exchanges

  /// A request whose exchange goes on.
  @inline(__always)
  func countRequest(_ x: ExchangePointer) {
    self[WorkerCounterPlace(metric: .requests)] += 1
    self[listener: x.pointee.listener, .requests] += 1
  }

  /// The end of an exchange, however it came.
  @inline(__always)
  func countEnd(_ x: ExchangePointer) {
    guard x.pointee.status >= 200 else { return }
    let statusClass = min(Int(x.pointee.status) / 100, 5) - 2
    let received = Int(truncatingIfNeeded: x.pointee.requestBytes)
    let sent = Int(truncatingIfNeeded: x.pointee.responseBytes)
    let listener = rows.listener(x.pointee.listener)
    block[listener + ListenerMetric.responses2xx.rawValue + statusClass] += 1
    block[listener + ListenerMetric.requestBytes.rawValue] &+= received
    block[listener + ListenerMetric.responseBytes.rawValue] &+= sent
    // Otherwise the answer was the proxy's own.
    guard x.pointee.firstByte != 0 else { return }
    let server = rows.server(x.pointee.group, x.pointee.server)
    block[server + ServerMetric.responses2xx.rawValue + statusClass] += 1
    block[server + ServerMetric.requestBytes.rawValue] &+= received
    block[server + ServerMetric.responseBytes.rawValue] &+= sent
  }

  /// An exchange that cannot go on, if its server is why.
  func countFailure(_ x: ExchangePointer, _ ending: Ending) {
    guard ending.isOfServer, x.pointee.group >= 0, x.pointee.server >= 0 else { return }
    self[x.pointee.group, x.pointee.server, .failures] += 1
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

extension Ending {
  fileprivate var isOfServer: Bool {
    switch self {
    case .connectRefused, .connectUnreachable, .connectTimeout, .connectFailed, .upstreamReset,
      .upstreamClosedEarly, .upstreamTruncated, .upstreamMalformed, .upstreamUpgrade,
      .responseTimeout:
      true
    default: false
    }
  }
}

/// Where the figures of a plan's listeners and servers are in each block: plain memory, made with the
/// plan, read by all workers. Another plan gets the same places for what it keeps.
struct MetricRows: @unchecked Sendable {
  // Sendable: immutable after `init`.
  private let listeners: UnsafeMutablePointer<Int32>
  private let servers: UnsafeMutablePointer<Int32>
  /// By upstream: the index of its first server.
  private let offsets: UnsafeMutablePointer<Int32>

  init(_ plan: Plan, _ board: MetricBoard) {
    let upstreams = plan.upstreams
    listeners = .allocate(capacity: max(plan.listeners.count, 1))
    offsets = .allocate(capacity: max(upstreams.count, 1))
    servers = .allocate(capacity: max(upstreams.reduce(0) { $0 + $1.servers.count }, 1))
    for (i, listener) in plan.listeners.enumerated() {
      let row = board.row(MetricGroups.listener, [listener.address.description])
      (listeners + i).initialize(to: Int32(row))
    }
    var next = 0
    for (i, upstream) in upstreams.enumerated() {
      (offsets + i).initialize(to: Int32(next))
      let name = String(decoding: upstream.name.raw, as: UTF8.self)
      for server in upstream.servers {
        let address = String(decoding: server.text.raw, as: UTF8.self)
        (servers + next).initialize(
          to: Int32(board.row(MetricGroups.server, [name, address])))
        next += 1
      }
    }
  }

  func deallocate() {
    listeners.deallocate()
    servers.deallocate()
    offsets.deallocate()
  }

  @inline(__always) func listener(_ index: Int32) -> Int { Int(listeners[Int(index)]) }

  @inline(__always) func server(_ upstream: Int32, _ server: Int32) -> Int {
    Int(servers[Int(offsets[Int(upstream)]) + Int(server)])
  }
}

extension TLSSession {
  // For a session that is stored in an optional, which can only be mutated in place.
  mutating func negotiated() -> TLSVersion { version }
}
