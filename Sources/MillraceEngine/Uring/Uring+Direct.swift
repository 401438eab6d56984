// Direct descriptors: slots of the kernel's table of files, which entries name by their place in it.
// Where the kernel keeps no table, this engine keeps what each slot stands for, and nobody above can
// tell, except that the kernel cannot run a chain whose steps open a slot for each other.
//
// TRAP: (file) slots of the direct table are taken and returned by the caller; nothing that arrives
// names one.

import CLinux
import Glibc

extension Uring {
  /// Has an entry work on a descriptor, or on what is in a slot by the time that it runs.
  @inline(__always)
  func aim(_ entry: UnsafeMutablePointer<clinux_sqe>, at descriptor: Int32) {
    entry.pointee.fd = descriptor
    if descriptor >= Descriptor.directBit { aimAtSlot(entry, descriptor) }
  }

  @inline(never)
  private func aimAtSlot(_ entry: UnsafeMutablePointer<clinux_sqe>, _ descriptor: Int32) {
    let slot = descriptor & ~Descriptor.directBit
    if hasTable {
      entry.pointee.fd = slot
      entry.pointee.flags |= UInt8(CLINUX_SQE_FIXED_FILE)
    } else {
      entry.pointee.fd = direct[slot]
    }
  }

  /// What system calls take for a descriptor; nil if there is no such thing.
  func systemDescriptor(_ descriptor: Int32) -> Int32? {
    if descriptor < Descriptor.directBit { return descriptor }
    return hasTable ? nil : direct[descriptor & ~Descriptor.directBit]
  }

  /// Has an entry that opens something put it into a slot. The file gets no number of the
  /// process's, so it needs no O_CLOEXEC, which the kernel refuses with a slot (EINVAL).
  func fill(_ slot: Int32, by entry: UnsafeMutablePointer<clinux_sqe>, flags: Int32, cloexec: Int32)
  {
    if hasTable {
      entry.pointee.op_flags = UInt32(bitPattern: flags & ~cloexec)
      entry.pointee.file_index = (slot & ~Descriptor.directBit) + 1
    } else {
      entry.pointee.op_flags = UInt32(bitPattern: flags | cloexec)
    }
  }

  public mutating func takeSlot() -> Descriptor? {
    guard let slot = direct.take() else { return nil }
    sockets[slot.rawValue].pointee.state.insert(.reserved)
    return slot
  }

  public mutating func returnSlot(_ slot: Descriptor) {
    let record = sockets[slot.rawValue]
    precondition(
      slot.isDirect && record.pointee.state.contains(.reserved), "not a slot in use")
    precondition(
      !record.pointee.state.contains(.open), "release of a slot with an open descriptor")
    record.pointee.state.remove(.reserved)
    direct.giveBack(slot)
  }

  /// Makes the record of a slot before anything is in it: the later steps of a chain are submitted
  /// together with the one that opens it.
  func beginFilling(_ slot: Int32) {
    let record = sockets[slot]
    precondition(record.pointee.state.contains(.reserved), "not a slot in use")
    precondition(!record.pointee.state.contains(.open), "the slot is already in use")
    sockets.open(slot).pointee.state.insert(.reserved)
  }

  /// What was to be opened in a slot has come, with the kernel's result.
  /// - Returns: the operation's result.
  mutating func endFilling(_ slot: Int32, _ result: Int32) -> Int32 {
    guard result >= 0 else {
      sockets[slot].pointee.state.remove(.open)
      return result
    }
    if !hasTable { direct[slot & ~Descriptor.directBit] = result }
    return 0
  }

  /// An entry that closes a descriptor or empties a slot.
  func fillClose(_ entry: UnsafeMutablePointer<clinux_sqe>, _ descriptor: Int32) {
    entry.pointee.opcode = UInt8(CLINUX_OP_CLOSE)
    if descriptor >= Descriptor.directBit && hasTable {
      entry.pointee.file_index = (descriptor & ~Descriptor.directBit) + 1
    } else {
      aim(entry, at: descriptor)
    }
  }

  /// SO_LINGER of a direct slot, in the turn that closes it: no system call can name it (6.7).
  mutating func resetOnCloseOfSlot(_ slot: Int32) {
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_URING_CMD)
    aim(entry, at: slot)
    entry.pointee.flags |= UInt8(CLINUX_SQE_CQE_SKIP_SUCCESS)
    entry.pointee.off = UInt64(CLINUX_SOCKET_SETSOCKOPT)
    entry.pointee.addr = UInt64(UInt32(SOL_SOCKET)) | UInt64(UInt32(SO_LINGER)) << 32
    entry.pointee.addr3 = UInt64(UInt(bitPattern: lingering))
    entry.pointee.file_index = Int32(MemoryLayout<linger>.size)
    entry.pointee.user_data = Self.userData(.ignored, 0, 0)
  }

  /// shutdown(2) of a direct slot that reports nothing.
  mutating func shutdownSlot(_ slot: Int32, _ direction: ShutdownDirection) {
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_SHUTDOWN)
    aim(entry, at: slot)
    entry.pointee.flags |= UInt8(CLINUX_SQE_CQE_SKIP_SUCCESS)
    entry.pointee.len = UInt32(bitPattern: Sockets.how(direction))
    entry.pointee.user_data = Self.userData(.ignored, 0, 0)
  }
}
