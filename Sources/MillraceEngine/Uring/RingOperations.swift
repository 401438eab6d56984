// Which operations the kernel lists for its rings (IORING_REGISTER_PROBE, 5.6).

import CLinux
import Glibc

struct RingOperations {
  private var known: [Bool]
  /// 0, or the negated errno of the question.
  let code: Int32

  init(_ ring: Int32) {
    known = []
    let list = UnsafeMutablePointer<clinux_probe>.allocate(capacity: 1)
    defer { list.deallocate() }
    memset(list, 0, MemoryLayout<clinux_probe>.size)
    code = clinux_uring_ask(ring, UInt32(CLINUX_REGISTER_PROBE), list, 256)
    guard code >= 0 else { return }
    // SAFETY: the kernel filled `ops_len` entries, at most the 256 that there is room for.
    let entries = (UnsafeMutableRawPointer(list) + 16)
      .assumingMemoryBound(to: clinux_probe_op.self)
    known = (0..<Int(list.pointee.ops_len)).map {
      entries[$0].flags & UInt16(CLINUX_PROBE_OP_SUPPORTED) != 0
    }
  }

  func has(_ opcode: Int) -> Bool { opcode < known.count && known[opcode] }
}
