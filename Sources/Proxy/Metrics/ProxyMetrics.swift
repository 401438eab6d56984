// The metrics of a process as its plans and workers see them: which groups there are, the row of each
// listener and server, and a block for each worker.

import Configuration
import Metrics

/// For the thread that makes the plans.
struct ProxyMetrics {
  let board: MetricBoard
  /// Which servers may be given requests.
  let switches = ServerSwitches()
  /// Another process reads along.
  private let isShared: Bool

  // The groups, in the order of their numbers. `WorkerCounters` relies on the first two.
  private static let listenerGroup = 2
  private static let serverGroup = 3
  private static let upstreamGroup = 4
  private static let routeGroup = 5
  private static let endingGroup = 6
  /// Rows for listeners and servers that a later configuration brings, beyond as many again as there
  /// are at the start. What comes when there is none left shares the row of `MetricBoard.rest`.
  private static let spareRows = 32

  /// - Parameter descriptor: an inherited file in memory, for another process to read; nil: none.
  init(
    _ configuration: ProxyConfiguration, workers: Int, sharedBy descriptor: Int32? = nil
  ) throws(MetricMemoryFailure) {
    let servers = configuration.upstreams.reduce(0) { $0 + $1.servers.count }
    let layout = MetricLayout(
      [
        MetricGroup(columns: WorkerMetric.allCases.map { MetricColumn($0.family) }),
        MetricGroup(
          columns: PublishedMetric.allCases.map { MetricColumn($0.family) }, isPublished: true),
        MetricGroup(
          dimensions: ["listener"], columns: ListenerMetric.allCases.map(\.column),
          rowCapacity: configuration.listeners.count * 2 + Self.spareRows),
        MetricGroup(
          dimensions: ["upstream", "server"], columns: ServerMetric.allCases.map(\.column),
          rowCapacity: servers * 2 + Self.spareRows),
        MetricGroup(
          dimensions: ["upstream"], columns: UpstreamMetric.columns,
          rowCapacity: configuration.upstreams.count * 2 + Self.spareRows),
        MetricGroup(
          dimensions: ["route", "upstream"], columns: RouteMetric.columns,
          rowCapacity: configuration.routes.count * 2 + Self.spareRows),
        MetricGroup(columns: EndingMetric.columns),
      ], blocks: workers)
    let memory =
      if let descriptor {
        try MetricMemory.shared(descriptor, layout.size)
      } else {
        try MetricMemory.own(layout.size)
      }
    board = MetricBoard(layout, in: memory)
    isShared = descriptor != nil
  }

  /// The row of a listener, by its address: the first of its cells in each block.
  func row(listener address: String) -> Int32 {
    Int32(board.row(Self.listenerGroup, [address]))
  }

  /// The row of a server of an upstream, by name and address. A server that is named twice has one.
  func row(upstream: String, server address: String) -> Int32 {
    Int32(board.row(Self.serverGroup, [upstream, address]))
  }

  /// The row of an upstream, by name.
  func row(upstream: String) -> Int32 { Int32(board.row(Self.upstreamGroup, [upstream])) }

  /// The row of a route, by what it matches and its upstream. Two that match the same have one.
  func row(route: String, upstream: String) -> Int32 {
    Int32(board.row(Self.routeGroup, [route, upstream]))
  }

  /// What a worker counts with. The board must outlive it.
  func counters(_ worker: Int) -> WorkerCounters {
    WorkerCounters(
      board.block(worker), isWatched: isShared, endings: board.layout.firstCells[Self.endingGroup])
  }
}
