// A slice is the right to some bytes of a buffer. It cannot be copied, only split; the buffer goes
// back to its pool when its last slice ends. A slice that is handed to an operation is consumed:
// nobody can touch bytes that are in flight.

import CLinux
import Glibc

/// Bytes of a buffer, owned. Ends by going out of scope, or by being consumed by a send.
///
/// Belongs to the thread of the engine that gave it.
public struct BufferSlice: ~Copyable {
  var base: UnsafeMutableRawPointer
  /// Bytes in the slice.
  public private(set) var count: Int
  let owner: UnsafeMutablePointer<BufferOwner>

  @inline(__always)
  init(base: UnsafeMutableRawPointer, count: Int, owner: UnsafeMutablePointer<BufferOwner>) {
    self.base = base
    self.count = count
    self.owner = owner
  }

  @inline(__always)
  deinit { Self.release(owner) }

  /// The bytes. Valid while the slice lives.
  @inline(__always)
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// The bytes, for writing into a buffer that was leased empty.
  @inline(__always)
  public var mutableBytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base, count: count)
  }

  /// True for memory outside the pools, which may be held for as long as a peer is slow.
  @inline(__always)
  public var isCold: Bool { owner.pointee.index == BufferOwner.coldIndex }

  /// Cuts the first `length` bytes off and returns them as a slice of their own.
  /// - Parameter length: 0...count.
  @inline(__always)
  public mutating func removePrefix(_ length: Int) -> BufferSlice {
    // TRAP: lengths are what a decoder or the kernel said of this very slice; each caller has
    // compared them with `count`.
    precondition(length >= 0 && length <= count)
    owner.pointee.slices += 1
    let prefix = BufferSlice(base: base, count: length, owner: owner)
    base += length
    count -= length
    return prefix
  }

  /// Forgets the first `length` bytes. - Parameter length: 0...count.
  @inline(__always)
  public mutating func dropPrefix(_ length: Int) {
    // TRAP: lengths are what a decoder or the kernel said of this very slice; each caller has
    // compared them with `count`.
    precondition(length >= 0 && length <= count)
    base += length
    count -= length
  }

  /// Forgets all but the first `length` bytes. - Parameter length: 0...count.
  @inline(__always)
  public mutating func truncate(to length: Int) {
    // TRAP: lengths are what a decoder or the kernel said of this very slice; each caller has
    // compared them with `count`.
    precondition(length >= 0 && length <= count)
    count = length
  }

  /// A further slice of the same buffer, over the given part of this one.
  @inline(__always)
  public func subslice(start: Int, count length: Int) -> BufferSlice {
    // TRAP: lengths are what a decoder or the kernel said of this very slice; each caller has
    // compared them with `count`.
    precondition(start >= 0 && length >= 0 && start + length <= count)
    owner.pointee.slices += 1
    return BufferSlice(base: base + start, count: length, owner: owner)
  }

  private static func release(_ owner: UnsafeMutablePointer<BufferOwner>) {
    owner.pointee.slices -= 1
    guard owner.pointee.slices == 0 else { return }
    let pool = owner.pointee.pool
    if owner.pointee.index == BufferOwner.coldIndex {
      ColdMemory.free(owner)
    } else if owner.pointee.kernelHolds {
      pool.pointee.leased -= 1
    } else {
      pool.pointee.free[pool.pointee.freeCount] = owner.pointee.index
      pool.pointee.freeCount += 1
      pool.pointee.leased -= 1
    }
  }
}

/// Memory for what outlives its turn: an incomplete head, an unsent tail. Allocated on demand
/// because it is the exception; counted in the pool's ledger, so that an operator sees it and a
/// test can assert that it comes back.
enum ColdMemory {
  /// Room before the bytes: the owner, and the size that was allocated.
  private static let headerBytes = 64
  private static let sizeOffset = 32

  static func allocate(_ size: Int, ledger: UnsafeMutablePointer<PoolState>) -> BufferSlice {
    guard let block = malloc(headerBytes + size) else {
      // TRAP: sizes are bounded by the limits of heads, frames and watermarks; where malloc gives
      // nothing the process is at its end.
      preconditionFailure("out of memory for \(size) bytes of cold memory")
    }
    // SAFETY: the block is ours alone and large enough for an owner, a size and the bytes.
    let owner = block.bindMemory(to: BufferOwner.self, capacity: 1)
    owner.initialize(
      to: BufferOwner(
        slices: 1, index: BufferOwner.coldIndex, generation: 0, pool: ledger))
    (block + sizeOffset).storeBytes(of: size, as: Int.self)
    ledger.pointee.coldBytes += size
    ledger.pointee.coldBytesHighest = max(
      ledger.pointee.coldBytesHighest, ledger.pointee.coldBytes)
    return BufferSlice(base: block + headerBytes, count: size, owner: owner)
  }

  static func free(_ owner: UnsafeMutablePointer<BufferOwner>) {
    let block = UnsafeMutableRawPointer(owner)
    owner.pointee.pool.pointee.coldBytes -= (block + sizeOffset).load(as: Int.self)
    Glibc.free(block)
  }
}
