// The metrics of a process as its plans and workers see them: which groups there are, the row of each
// listener and server, and a block for each worker.

import Configuration
import Metrics

/// For the thread that makes the plans.
struct ProxyMetrics {
  let board: MetricBoard
  /// Another process reads along.
  private let isShared: Bool

  // The groups, in the order of their numbers. `WorkerCounters` relies on the first two.
  private static let listenerGroup = 2
  private static let serverGroup = 3
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

  /// What a worker counts with. The board must outlive it.
  func counters(_ worker: Int) -> WorkerCounters {
    WorkerCounters(board.block(worker), isWatched: isShared)
  }
}
