// A pool owns one slab of equal buffers and gives them out as leases, last in first out, so that
// the buffers in use stay few and hot. It refuses rather than grows: an empty pool is
// backpressure. Slices count themselves per buffer, without atomics: a pool belongs to one worker.
//
// TRAP: (file) sizes are options of the start; completions are this engine's own values, and the
// caller redeems each once.

import CLinux
import Glibc

/// What stands behind a slice: a buffer of a pool, or cold memory.
///
/// Lives in raw memory with a stable address. Not thread safe: a pool belongs to one thread.
struct BufferOwner {
  /// How many slices of this buffer are alive. 0: free, or in the kernel's hands; `reported`:
  /// a completion names it that has not been redeemed yet.
  var slices: UInt32
  /// Index within the pool; `coldIndex` for cold memory.
  var index: UInt32
  /// Counts the completions that named this buffer, 16 bits of it.
  var generation: UInt32
  /// The kernel still fills this buffer, so that it is not free when its last slice ends; see
  /// BufferPool+Pieces.swift.
  var kernelHolds = false
  var pool: UnsafeMutablePointer<PoolState>

  static let coldIndex = UInt32.max
  static let reported = UInt32.max
}

/// The part of a pool that slices point to.
struct PoolState {
  var base: UnsafeMutableRawPointer
  var owners: UnsafeMutablePointer<BufferOwner>
  /// Free buffers, the most recently used on top.
  var free: UnsafeMutablePointer<UInt32>
  var freeCount: Int
  var bufferSize: Int
  var count: Int
  /// Below this many free buffers no hot buffer outlives its turn.
  var watermark: Int
  /// Buffers that a caller holds right now.
  var leased: Int
  /// Bytes of cold memory that are allocated right now, and the highest there ever was.
  var coldBytes: Int
  var coldBytesHighest: Int
  /// How often a lease was asked for and none was free.
  var refusals: Int
  /// Bytes that were received into buffers, in all.
  var received: Int
  /// Something may still write into the slab when its pool ends, so it stays mapped.
  var abandoned: Bool
  /// One bit per byte: a piece that begins there is reported and not redeemed. nil where buffers
  /// are only ever reported whole.
  var pieces: UnsafeMutablePointer<UInt64>?
}

/// A slab of equal buffers.
struct BufferPool: ~Copyable {
  let state: UnsafeMutablePointer<PoolState>
  private let mapped: Int

  /// - Parameters:
  ///   - bufferSize: bytes of each buffer; a multiple of 4096 keeps each on pages of its own.
  ///   - count: buffers, 1...32768 (a buffer id of the kernel's buffer rings is 16 bits wide).
  ///   - watermark: see `PoolState.watermark`.
  init(bufferSize: Int, count: Int, watermark: Int) {
    precondition(count >= 1 && count <= 32_768 && bufferSize > 0)
    mapped = bufferSize * count
    let base = mmap(
      nil, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let base, base != MAP_FAILED else {
      preconditionFailure("no address space for \(mapped) bytes of buffers")
    }
    state = .allocate(capacity: 1)
    let owners = UnsafeMutablePointer<BufferOwner>.allocate(capacity: count)
    let free = UnsafeMutablePointer<UInt32>.allocate(capacity: count)
    for i in 0..<count {
      (owners + i).initialize(
        to: BufferOwner(slices: 0, index: UInt32(i), generation: 0, pool: state))
      // The lowest index on top: an idle pool touches the same few pages after each start.
      (free + i).initialize(to: UInt32(count - 1 - i))
    }
    state.initialize(
      to: PoolState(
        base: base, owners: owners, free: free, freeCount: count, bufferSize: bufferSize,
        count: count, watermark: watermark, leased: 0, coldBytes: 0, coldBytesHighest: 0,
        refusals: 0, received: 0, abandoned: false, pieces: nil))
  }

  /// Frees the slab. A slice that is still alive would dangle, so a pool with leases out is left
  /// to the process's end instead: a leak that is loud beats memory that is freed under a user.
  deinit {
    if state.pointee.abandoned { return }
    if state.pointee.leased != 0 || state.pointee.coldBytes != 0 {
      engineBug("a buffer pool was torn down with leases out")
      return
    }
    if let pieces = state.pointee.pieces { munmap(pieces, mapped / 8) }
    munmap(state.pointee.base, mapped)
    state.pointee.owners.deallocate()
    state.pointee.free.deallocate()
    state.deallocate()
  }

  @inline(__always) var freeCount: Int { state.pointee.freeCount }
  @inline(__always) var leased: Int { state.pointee.leased }
  @inline(__always) var isLow: Bool { state.pointee.freeCount < state.pointee.watermark }

  @inline(__always)
  func address(of index: UInt32) -> UnsafeMutableRawPointer {
    state.pointee.base + Int(index) * state.pointee.bufferSize
  }

  /// Takes a free buffer out of the pool, with no slice of it yet.
  @inline(__always)
  func takeFree() -> UInt32? {
    guard state.pointee.freeCount > 0 else { return nil }
    state.pointee.freeCount -= 1
    return state.pointee.free[state.pointee.freeCount]
  }

  /// Puts back a buffer that `takeFree` gave and that no slice was made of.
  @inline(__always)
  func putBack(_ index: UInt32) {
    state.pointee.free[state.pointee.freeCount] = index
    state.pointee.freeCount += 1
  }

  /// Marks a buffer with so many received bytes as named by a completion, and leased from now on.
  /// - Returns: what the completion says to redeem it.
  @inline(__always)
  func report(_ index: UInt32, _ bytes: Int) -> UInt32 {
    state.pointee.received &+= bytes
    let owner = state.pointee.owners + Int(index)
    let generation = (owner.pointee.generation &+ 1) & 0xFFFF
    owner.pointee.generation = generation
    owner.pointee.slices = BufferOwner.reported
    state.pointee.leased += 1
    return index | generation << 16
  }

  /// Makes the first slice of a buffer that a completion names.
  @inline(__always)
  func redeem(_ completion: Completion) -> BufferSlice {
    let index = completion.bufferIndex
    precondition(Int(index) < state.pointee.count, "a completion of another engine was redeemed")
    let owner = state.pointee.owners + Int(index)
    precondition(
      owner.pointee.slices == BufferOwner.reported
        && owner.pointee.generation == completion.bufferGeneration,
      "received bytes were redeemed twice")
    owner.pointee.slices = 1
    return BufferSlice(
      base: address(of: index), count: Int(completion.result), owner: owner)
  }

  /// Makes the first slice of a buffer that a completion names, over all of the buffer.
  func redeemWhole(_ completion: Completion) -> BufferSlice {
    var whole = completion
    whole.result = Int32(state.pointee.bufferSize)
    return redeem(whole)
  }

  /// Takes a free buffer as one slice, or nil (counted) when none is free.
  func lease() -> BufferSlice? {
    guard let index = takeFree() else {
      state.pointee.refusals += 1
      return nil
    }
    let owner = state.pointee.owners + Int(index)
    owner.pointee.slices = 1
    state.pointee.leased += 1
    return BufferSlice(
      base: address(of: index), count: state.pointee.bufferSize, owner: owner)
  }
}

/// Reports a bug of the engine: fatal in debug builds, one line in release builds.
func engineBug(_ message: StaticString) {
  assertionFailure("\(message)")
  let text: StaticString = "millrace: engine bug: "
  _ = write(2, text.utf8Start, text.utf8CodeUnitCount)
  _ = write(2, message.utf8Start, message.utf8CodeUnitCount)
  _ = write(2, "\n", 1)
}
