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

  /// - Parameter depth: buffers in the kernel's hands at most, a power of two up to 32768.
  init(ring descriptor: Int32, group: UInt16, depth: Int) throws(SystemFailure) {
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
    let code = clinux_uring_register(
      descriptor, UInt32(CLINUX_REGISTER_PBUF_RING), &registration, 1)
    guard code >= 0 else {
      munmap(memory, bytes)
      throw SystemFailure(code: -code, operation: "registering a buffer ring")
    }
    self.group = group
    self.depth = depth
    ring = memory.bindMemory(to: clinux_buf.self, capacity: depth)
  }

  /// Unmaps the ring of addresses. Its owner closes the ring of the kernel first.
  deinit { munmap(ring, depth * MemoryLayout<clinux_buf>.stride) }

  /// Tops the ring up from the pool. - Returns: true if the kernel has at least one buffer.
  @inline(__always)
  mutating func refill(from pool: borrowing BufferPool) -> Bool {
    guard provided < depth else { return true }
    var added = false
    while provided < depth, let index = pool.takeFree() {
      let entry = ring + Int(tail & UInt16(depth - 1))
      entry.pointee.addr = UInt64(UInt(bitPattern: pool.address(of: index)))
      entry.pointee.len = UInt32(pool.state.pointee.bufferSize)
      entry.pointee.bid = UInt16(index)
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
}
