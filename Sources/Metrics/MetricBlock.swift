// The figures of one writer. Only its thread writes them, each with a load and a store and never
// with a read-modify-write; any thread, and any process that has the memory mapped, may read them
// meanwhile. Nothing here allocates.

public import Synchronization

/// One writer's cells. They and the import above are public so that counting in another module is a
/// load, an addition and a store: with both of them `package` the release build made two calls of it.
public struct MetricBlock: @unchecked Sendable {
  // Sendable: memory that is made for sharing, with one writer by convention.
  @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt64>>

  /// Words before the first cell. The first is the number of publications, twice, and odd while one is
  /// going on.
  @inlinable @inline(__always) public static var firstCell: Int { 16 }

  init(_ memory: UnsafeMutableRawPointer) {
    words = memory.assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  /// A cell, by its place in the block: the group's first cell and what its layout says.
  @inlinable public subscript(cell: Int) -> Int {
    @inline(__always) get {
      Int(truncatingIfNeeded: words[cell].load(ordering: .relaxed))
    }
    @inline(__always) nonmutating set {
      words[cell].store(UInt64(truncatingIfNeeded: newValue), ordering: .relaxed)
    }
  }

  /// Before cells of published groups are written: a reader sees all that is written until
  /// `endPublication`, or nothing of it.
  package func beginPublication() {
    words[0].store(words[0].load(ordering: .relaxed) | 1, ordering: .relaxed)
    atomicMemoryFence(ordering: .releasing)
  }

  package func endPublication() {
    words[0].store(words[0].load(ordering: .relaxed) &+ 1, ordering: .releasing)
  }
}
