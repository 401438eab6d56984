// Lines on their way from a worker to the thread that writes them: a ring of bytes that one thread fills
// and one empties, without a lock. What finds no room is dropped and counted; neither thread waits for the other.

import Glibc
import MillraceEngine
import Synchronization

/// The ring of one worker.
struct LineRing: ~Copyable {
  /// A line in a ring.
  struct Entry {
    let bytes: UnsafeRawBufferPointer
    /// Wall clock.
    let microseconds: Int64
    fileprivate let end: Int
  }

  /// Some thousand lines: a hundredth of a second of the fastest worker, and a minute of most. Touched as
  /// lines come.
  static let standardCapacity = 1 << 20
  /// Each line begins with its length and its time.
  private static let headBytes = 16
  /// In the place of a length: the rest of the memory is not used.
  private static let skip = UInt64.max

  private let memory: UnsafeMutableRawPointer
  private let capacity: Int
  private let filled = Atomic<Int>(0)
  private let taken = Atomic<Int>(0)
  /// Lines are wanted.
  let isOpen = Atomic<Bool>(false)
  /// Lines that found room.
  let lines = Atomic<Int>(0)
  /// Lines that found none. Written by the worker.
  let dropped = Atomic<Int>(0)
  /// Lines that could not be written. Counted by the thread that writes them.
  let lost = Atomic<Int>(0)
  /// So that no two workers write to one cache line, of which CPUs fetch two at a time.
  private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (
    0, 0, 0, 0, 0, 0, 0, 0
  )

  /// - Parameter capacity: bytes, a power of two.
  init(capacity: Int = standardCapacity) {
    self.capacity = capacity
    memory = .allocate(byteCount: capacity, alignment: 64)
  }

  deinit { memory.deallocate() }

  /// Bytes in use.
  @inline(__always)
  var count: Int { filled.load(ordering: .relaxed) - taken.load(ordering: .relaxed) }
  var isEmpty: Bool {
    filled.load(ordering: .sequentiallyConsistent) == taken.load(ordering: .relaxed)
  }
  @inline(__always)
  var isHalfFull: Bool { count > capacity / 2 }

  /// Adds a line. By the worker alone. - Returns: false if there is no room; that is counted.
  func append(_ bytes: UnsafeRawBufferPointer, microseconds: Int64) -> Bool {
    let needed = Self.headBytes + (bytes.count + 15) & ~15
    let position = filled.load(ordering: .relaxed)
    var start = position & (capacity - 1)
    let rest = capacity - start
    let total = needed > rest ? rest + needed : needed
    guard position + total - taken.load(ordering: .acquiring) <= capacity,
      let source = bytes.baseAddress
    else {
      dropped.wrappingAdd(1, ordering: .relaxed)
      return false
    }
    if needed > rest {
      memory.storeBytes(of: Self.skip, toByteOffset: start, as: UInt64.self)
      start = 0
    }
    memory.storeBytes(of: UInt64(bytes.count), toByteOffset: start, as: UInt64.self)
    memory.storeBytes(of: microseconds, toByteOffset: start + 8, as: Int64.self)
    memcpy(memory + start + Self.headBytes, source, bytes.count)
    lines.store(lines.load(ordering: .relaxed) + 1, ordering: .relaxed)
    // In one order with the writer's word that it sleeps (`LineSource`).
    filled.store(position + total, ordering: .sequentiallyConsistent)
    return true
  }

  /// The oldest line, which stays until it is released. By the writing thread alone.
  func peek() -> Entry? {
    var position = taken.load(ordering: .relaxed)
    guard position != filled.load(ordering: .acquiring) else { return nil }
    var start = position & (capacity - 1)
    if memory.load(fromByteOffset: start, as: UInt64.self) == Self.skip {
      position += capacity - start
      start = 0
    }
    let count = Int(memory.load(fromByteOffset: start, as: UInt64.self))
    return Entry(
      bytes: UnsafeRawBufferPointer(start: memory + start + Self.headBytes, count: count),
      microseconds: memory.load(fromByteOffset: start + 8, as: Int64.self),
      end: position + Self.headBytes + (count + 15) & ~15)
  }

  func release(_ entry: Entry) { taken.store(entry.end, ordering: .releasing) }
}

/// Where a worker puts its lines, and how the thread that writes them is called.
struct LineSource: BitwiseCopyable, @unchecked Sendable {
  // Sendable: points to atomics, and to a signal that lives as long as its feed.
  let ring: UnsafeMutablePointer<LineRing>
  let state: UnsafeMutablePointer<Atomic<UInt8>>
  let signal: Unmanaged<ThreadSignal>

  @inline(__always)
  var isOpen: Bool { ring.pointee.isOpen.load(ordering: .relaxed) }

  /// Adds a line, and calls the thread that writes it if that sleeps, or should hurry. At most one call for
  /// each of its waits.
  func append(_ bytes: UnsafeRawBufferPointer, microseconds: Int64) {
    guard ring.pointee.append(bytes, microseconds: microseconds) else { return }
    let state = state.pointee.load(ordering: .sequentiallyConsistent)
    if state == LineFeed.asleep || state == LineFeed.gathering && ring.pointee.isHalfFull {
      call(state)
    }
  }

  @inline(never)
  private func call(_ seen: UInt8) {
    let (isFirst, _) = state.pointee.compareExchange(
      expected: seen, desired: LineFeed.awake, ordering: .sequentiallyConsistent)
    if isFirst { signal._withUnsafeGuaranteedRef { $0.call() } }
  }
}

/// The rings of all workers, and the thread that empties them.
final class LineFeed: @unchecked Sendable {
  // Sendable: atomics, and what is constant.
  static let awake: UInt8 = 0
  /// Waits for the first line.
  static let asleep: UInt8 = 1
  /// Waits a moment for more lines.
  static let gathering: UInt8 = 2

  let count: Int
  let signal: ThreadSignal
  private let rings: UnsafeMutablePointer<LineRing>
  private let state: UnsafeMutablePointer<Atomic<UInt8>>

  /// Lives as long as the process: workers that are not waited for may still use it.
  init(workers: Int, capacity: Int = LineRing.standardCapacity) throws(SystemFailure) {
    signal = try ThreadSignal()
    count = workers
    rings = UnsafeMutableRawPointer.allocate(
      byteCount: workers * MemoryLayout<LineRing>.stride, alignment: 128
    ).bindMemory(to: LineRing.self, capacity: workers)
    for index in 0..<workers { (rings + index).initialize(to: LineRing(capacity: capacity)) }
    state = .allocate(capacity: 1)
    state.initialize(to: Atomic(Self.awake))
    _ = Unmanaged.passRetained(self)
  }

  subscript(_ worker: Int) -> UnsafeMutablePointer<LineRing> { rings + worker }

  func source(_ worker: Int) -> LineSource {
    LineSource(ring: rings + worker, state: state, signal: .passUnretained(signal))
  }

  /// Takes lines from now on, or none.
  func open(_ isOpen: Bool) {
    for index in 0..<count { rings[index].isOpen.store(isOpen, ordering: .relaxed) }
  }

  var isEmpty: Bool { (0..<count).allSatisfy { rings[$0].isEmpty } }

  /// Lines that are not where they should be: those without room, and those that could not be written.
  var missing: Int {
    (0..<count).reduce(0) {
      $0 + rings[$1].dropped.load(ordering: .relaxed) + rings[$1].lost.load(ordering: .relaxed)
    }
  }

  /// Waits for lines, or a call. By the thread that empties the rings.
  /// - Parameter nanoseconds: at most; Int64.max: for ever.
  func waitForLines(nanoseconds: Int64) {
    state.pointee.store(Self.asleep, ordering: .sequentiallyConsistent)
    if isEmpty { signal.wait(nanoseconds: nanoseconds) }
    state.pointee.store(Self.awake, ordering: .sequentiallyConsistent)
  }

  /// Waits a moment for more of them.
  func gather(nanoseconds: Int64) {
    state.pointee.store(Self.gathering, ordering: .sequentiallyConsistent)
    signal.wait(nanoseconds: nanoseconds)
    state.pointee.store(Self.awake, ordering: .sequentiallyConsistent)
  }
}
