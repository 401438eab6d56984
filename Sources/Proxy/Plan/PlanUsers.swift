// How many connections each plan of a worker still has, in memory that the process's own thread may read at
// any time: which generations are alive, and for whom.

import Synchronization

/// The counts of one worker: written by it alone, with plain loads and stores.
package final class PlanUsers: Sendable {
  private struct Cell: ~Copyable {
    /// The generation's number; 0: the place is free.
    let generation = Atomic<Int>(0)
    let connections = Atomic<Int>(0)
  }

  // SAFETY: atomics, never moved; freed with this object, which the worker retains.
  private nonisolated(unsafe) let cells: UnsafeMutablePointer<Cell>

  package init() {
    cells = .allocate(capacity: LivePlan.windows)
    for place in 0..<LivePlan.windows { (cells + place).initialize(to: Cell()) }
  }

  deinit {
    cells.deinitialize(count: LivePlan.windows)
    cells.deallocate()
  }

  // MARK: The worker's side

  func place(_ generation: Int, at place: Int) {
    cells[place].generation.store(generation, ordering: .relaxed)
  }

  @inline(__always)
  subscript(place: Int) -> Int {
    get { cells[place].connections.load(ordering: .relaxed) }
    set { cells[place].connections.store(newValue, ordering: .relaxed) }
  }

  // MARK: Everybody's

  /// Connections by generation, the oldest first; a connection of HTTP/2 whose streams are on several is counted
  /// for each.
  package var connections: [(generation: Int, connections: Int)] {
    (0..<LivePlan.windows).compactMap { place in
      let generation = cells[place].generation.load(ordering: .relaxed)
      return generation == 0 ? nil : (generation, self[place])
    }.sorted { $0.generation < $1.generation }
  }

  /// Whether there is no place for one more.
  var isFull: Bool {
    (0..<LivePlan.windows).allSatisfy { cells[$0].generation.load(ordering: .relaxed) != 0 }
  }
}
