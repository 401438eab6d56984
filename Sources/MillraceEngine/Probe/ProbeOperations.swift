// Which operations the engine submits, and whether the kernel lists them.

import CLinux
import Glibc

enum ProbeOperations {
  /// What the engine cannot do without. IORING_OP_FTRUNCATE (6.9) is not among them: the engine
  /// makes that call itself where the ring has it not.
  static let needed: [(opcode: Int, name: String)] = [
    (Int(CLINUX_OP_ACCEPT), "IORING_OP_ACCEPT"),
    (Int(CLINUX_OP_CONNECT), "IORING_OP_CONNECT"),
    (Int(CLINUX_OP_RECV), "IORING_OP_RECV"),
    (Int(CLINUX_OP_SEND), "IORING_OP_SEND"),
    (Int(CLINUX_OP_SENDMSG), "IORING_OP_SENDMSG"),
    (Int(CLINUX_OP_ASYNC_CANCEL), "IORING_OP_ASYNC_CANCEL"),
    (Int(CLINUX_OP_READ), "IORING_OP_READ"),
    (Int(CLINUX_OP_WRITE), "IORING_OP_WRITE"),
    (Int(CLINUX_OP_FSYNC), "IORING_OP_FSYNC"),
    (Int(CLINUX_OP_FALLOCATE), "IORING_OP_FALLOCATE"),
    (Int(CLINUX_OP_OPENAT), "IORING_OP_OPENAT"),
    (Int(CLINUX_OP_CLOSE), "IORING_OP_CLOSE"),
    (Int(CLINUX_OP_RENAMEAT), "IORING_OP_RENAMEAT"),
    (Int(CLINUX_OP_UNLINKAT), "IORING_OP_UNLINKAT"),
  ]

  static func name(_ opcode: UInt8) -> String {
    needed.first { $0.opcode == Int(opcode) }?.name ?? "operation \(opcode)"
  }

  /// Asks the ring. - Returns: 0, a negated errno, or `wrong` with the operation noted.
  static func check(_ ring: Int32, _ notes: ProbeNotes) -> Int32 {
    let list = UnsafeMutablePointer<clinux_probe>.allocate(capacity: 1)
    defer { list.deallocate() }
    memset(list, 0, MemoryLayout<clinux_probe>.size)
    let code = clinux_uring_register(ring, UInt32(CLINUX_REGISTER_PROBE), list, 256)
    guard code >= 0 else { return code }
    // SAFETY: the kernel filled `ops_len` entries, at most the 256 that there is room for.
    let entries = (UnsafeMutableRawPointer(list) + 16)
      .assumingMemoryBound(to: clinux_probe_op.self)
    for (opcode, _) in needed {
      let known =
        opcode < Int(list.pointee.ops_len)
        && entries[opcode].flags & UInt16(CLINUX_PROBE_OP_SUPPORTED) != 0
      if !known {
        notes.outcome.missingOperation = UInt8(opcode)
        return ProbeOutcome.wrong
      }
    }
    return 0
  }
}
