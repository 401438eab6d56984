// A ring of receive buffers that the kernel draws from (IORING_REGISTER_PBUF_RING, 5.19). Only as
// many buffers as the ring is deep are ever in the kernel's hands, refilled from the top of the
// pool's stack: few and hot.

import CLinux
import Glibc

struct ProvidedBuffers: ~Copyable {
  let group: UInt16
  private let ring: UnsafeMutablePointer<clinux_buf>
  let depth: Int
  private var tail: UInt16 = 0
  /// Buffers that the kernel has.
  private(set) var provided = 0
  /// By buffer: its place in the ring, so that the buffers after it in a bundle can be named. nil
  /// where a completion never speaks of more than one whole buffer.
  private let places: UnsafeMutablePointer<UInt16>?
  /// By buffer: bytes that the kernel has used of it. Zero unless `isIncremental`.
  private let used: UnsafeMutablePointer<UInt32>?
  /// The kernel uses a buffer bit by bit (IOU_PBUF_RING_INC, 6.12).
  let isIncremental: Bool

  /// - Parameters:
  ///   - depth: buffers in the kernel's hands at most, a power of two up to 32768.
  ///   - tracked: the pool's buffers, where completions may be for parts of one or for several; 0
  ///     where each is for one.
  ///   - incremental: see `isIncremental`.
  init(
    ring descriptor: Int32, group: UInt16, depth: Int, tracked: Int = 0,
    incremental: Bool = false
  ) throws(SystemFailure) {
    let bytes = depth * MemoryLayout<clinux_buf>.stride
    let memory = mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      throw SystemFailure(code: errno, operation: "mmap of a buffer ring")
    }
    var registration = clinux_buf_reg()
    registration.ring_addr = UInt64(UInt(bitPattern: memory))
    registration.ring_entries = UInt32(depth)
    registration.bgid = group
    registration.flags = incremental ? UInt16(CLINUX_PBUF_RING_INC) : 0
    let code = clinux_uring_register(
      descriptor, UInt32(CLINUX_REGISTER_PBUF_RING), &registration, 1)
    guard code >= 0 else {
      munmap(memory, bytes)
      throw SystemFailure(code: -code, operation: "registering a buffer ring")
    }
    self.group = group
    self.depth = depth
    isIncremental = incremental
    if tracked > 0 {
      let places = UnsafeMutablePointer<UInt16>.allocate(capacity: tracked)
      places.initialize(repeating: 0, count: tracked)
      self.places = places
      let used = UnsafeMutablePointer<UInt32>.allocate(capacity: tracked)
      used.initialize(repeating: 0, count: tracked)
      self.used = used
    } else {
      places = nil
      used = nil
    }
    ring = memory.bindMemory(to: clinux_buf.self, capacity: depth)
  }

  /// Unmaps the ring of addresses. Its owner closes the ring of the kernel first.
  deinit {
    munmap(ring, depth * MemoryLayout<clinux_buf>.stride)
    places?.deallocate()
    used?.deallocate()
  }

  /// True where completions may be for parts of a buffer, or for several.
  @inline(__always) var isTracked: Bool { places != nil }

  /// Tops the ring up from the pool.
  /// - Parameter share: buffers that the kernel is to have; more than the ring is deep are as many as that.
  /// - Returns: true if the kernel has at least one buffer.
  @inline(__always)
  mutating func refill(from pool: borrowing BufferPool, upTo share: Int = .max) -> Bool {
    let share = min(share, depth)
    guard provided < share else { return true }
    var added = false
    while provided < share, let index = pool.takeFree() {
      let entry = ring + Int(tail & UInt16(depth - 1))
      entry.pointee.addr = UInt64(UInt(bitPattern: pool.address(of: index)))
      entry.pointee.len = UInt32(pool.state.pointee.bufferSize)
      entry.pointee.bid = UInt16(index)
      if let places { places[Int(index)] = tail & UInt16(depth - 1) }
      tail &+= 1
      provided += 1
      added = true
    }
    if added {
      // SAFETY: the ring's tail lies in the reserved half-word of entry 0, as the UAPI says.
      let shared = UnsafeMutableRawPointer(ring) + 14
      clinux_store_release16(shared.assumingMemoryBound(to: UInt16.self), tail)
    }
    return provided > 0
  }

  /// Notes that the kernel gave a buffer back.
  @inline(__always)
  mutating func taken() { provided -= 1 }

  // MARK: Parts and bundles

  /// Bytes that a tracked buffer still has room for, as the kernel saw it when it filled it. (It
  /// shortens the first buffer of a bundle to what it is about to receive.)
  func room(of index: UInt32, size: Int) -> Int {
    guard let places, let used else { return size }
    if isIncremental { return size - Int(used[Int(index)]) }
    let entry = ring[Int(places[Int(index)])]
    return entry.bid == UInt16(index) ? Int(entry.len) : size
  }

  /// The buffer that the kernel takes after this one.
  func following(_ index: UInt32) -> UInt32 {
    guard let places else { return index }
    return UInt32(ring[(Int(places[Int(index)]) + 1) & (depth - 1)].bid)
  }

  /// Notes that the kernel used bytes of a buffer, and whether it is done with it.
  /// - Returns: where in the buffer they begin.
  mutating func advance(_ index: UInt32, by count: Int, done: Bool) -> Int {
    guard let used else { return 0 }
    let start = Int(used[Int(index)])
    used[Int(index)] = done ? 0 : UInt32(start + count)
    if done { provided -= 1 }
    return start
  }
}
