// The file buffers that an engine keeps ready: one mapping, cut into equal parts, registered with
// the kernel where it can be. A buffer that ends goes back to the pool; the pool refuses rather
// than grows. Belongs to one thread, as its engine does.
//
// TRAP: (file) counts and sizes are the operator's, within ranges that were checked; memory is
// taken when the engine is made.

import CLinux
import Glibc

/// The part of the pool that buffers point to.
struct RegisteredBufferState {
  var base: UnsafeMutableRawPointer
  var size: Int
  /// Free buffers, the most recently used on top.
  var free: UnsafeMutablePointer<UInt16>
  var freeCount: Int
  var refusals: Int
  /// The kernel has the pages mapped: READ_FIXED and WRITE_FIXED may name them.
  var isRegistered: Bool
}

struct RegisteredBuffers: ~Copyable {
  let count: Int
  private let state: UnsafeMutablePointer<RegisteredBufferState>

  /// - Parameters:
  ///   - count: buffers, 0...1024 (the kernel takes up to UIO_MAXIOV in one registration, and 16384
  ///     in all).
  ///   - size: bytes of each, a multiple of 4096.
  init(count: Int, size: Int) {
    precondition(count >= 0 && count <= 1024, "registered buffers: 0 to 1024")
    self.count = count
    precondition(
      count == 0 || (size > 0 && size % 4096 == 0),
      "registered buffers: a multiple of 4096 bytes")
    // At least a page, so that an empty pool differs in nothing but its count.
    let base = mmap(
      nil, max(count * size, 4096), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let base, base != MAP_FAILED else {
      preconditionFailure("no address space for \(count * size) bytes of file buffers")
    }
    let free = UnsafeMutablePointer<UInt16>.allocate(capacity: max(count, 1))
    for i in 0..<count { (free + i).initialize(to: UInt16(count - 1 - i)) }
    state = .allocate(capacity: 1)
    state.initialize(
      to: RegisteredBufferState(
        base: base, size: size, free: free, freeCount: count, refusals: 0, isRegistered: false))
  }

  /// A pool with buffers out is left to the process's end: memory that is freed under its user
  /// would be worse.
  deinit {
    if state.pointee.freeCount != count {
      engineBug("registered buffers were out when their pool was torn down")
      return
    }
    munmap(state.pointee.base, max(count * state.pointee.size, 4096))
    state.pointee.free.deallocate()
    state.deallocate()
  }

  var inUse: Int { count - state.pointee.freeCount }
  var refusals: Int { state.pointee.refusals }

  /// Has the kernel map the pages of all buffers. - Returns: 0 or a negated errno.
  func register(with ring: Int32) -> Int32 {
    let size = state.pointee.size
    let vectors = (0..<count).map { iovec(iov_base: state.pointee.base + $0 * size, iov_len: size) }
    let code = vectors.withUnsafeBufferPointer {
      clinux_uring_register(
        ring, UInt32(CLINUX_REGISTER_BUFFERS), $0.baseAddress, UInt32(count))
    }
    state.pointee.isRegistered = code >= 0
    return min(code, 0)
  }

  /// A free buffer, or nil (counted).
  func take() -> FileBuffer? {
    guard state.pointee.freeCount > 0 else {
      state.pointee.refusals += 1
      return nil
    }
    state.pointee.freeCount -= 1
    let index = Int(state.pointee.free[state.pointee.freeCount])
    return FileBuffer(
      adopting: state.pointee.base + index * state.pointee.size, capacity: state.pointee.size,
      owner: state)
  }

  /// Where the kernel knows a buffer, or nil if it does not.
  @inline(__always)
  static func registration(
    of base: UnsafeMutableRawPointer, _ owner: UnsafeMutablePointer<RegisteredBufferState>?
  ) -> UInt16? {
    guard let owner, owner.pointee.isRegistered else { return nil }
    return UInt16((base - owner.pointee.base) / owner.pointee.size)
  }

  static func giveBack(
    _ base: UnsafeMutableRawPointer, _ owner: UnsafeMutablePointer<RegisteredBufferState>
  ) {
    owner.pointee.free[owner.pointee.freeCount] = UInt16(
      (base - owner.pointee.base) / owner.pointee.size)
    owner.pointee.freeCount += 1
  }
}
