// File operations through the ring. Memory and paths live in a slot until the terminal completion.

import CLinux
import Glibc

extension Uring {
  private mutating func submitFile(
    _ slot: UInt32, _ opcode: Int, _ body: (UnsafeMutablePointer<clinux_sqe>) -> Void
  ) {
    statistics.operationsInFlight += 1
    let entry = self.entry()
    entry.pointee.opcode = UInt8(opcode)
    entry.pointee.user_data = Self.userData(.file, 0, slot)
    body(entry)
  }

  public mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    let slot = files.take(.open, token)
    let text = strdup(path)
    files.slots[Int(slot)].path = text
    submitFile(slot, CLINUX_OP_OPENAT) {
      $0.pointee.fd = AT_FDCWD
      $0.pointee.addr = UInt64(UInt(bitPattern: text))
      $0.pointee.len = mode
      $0.pointee.op_flags = UInt32(bitPattern: flags | O_CLOEXEC)
    }
  }

  public mutating func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    let slot = files.take(.read, token)
    files.slots[Int(slot)].bufferCapacity = buffer.capacity
    files.slots[Int(slot)].bufferOwner = buffer.owner
    let fixed = RegisteredBuffers.registration(of: buffer.base, buffer.owner)
    let base = buffer.surrender()
    files.slots[Int(slot)].buffer = base
    submitFile(slot, fixed == nil ? CLINUX_OP_READ : CLINUX_OP_READ_FIXED) {
      $0.pointee.buf_index = fixed ?? 0
      $0.pointee.fd = file.rawValue
      $0.pointee.addr = UInt64(UInt(bitPattern: base))
      $0.pointee.len = UInt32(count)
      $0.pointee.off = UInt64(bitPattern: offset)
    }
  }

  public mutating func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    let slot = files.take(.write, token)
    files.slots[Int(slot)].bufferCapacity = buffer.capacity
    files.slots[Int(slot)].bufferOwner = buffer.owner
    let fixed = RegisteredBuffers.registration(of: buffer.base, buffer.owner)
    let base = buffer.surrender()
    files.slots[Int(slot)].buffer = base
    submitFile(slot, fixed == nil ? CLINUX_OP_WRITE : CLINUX_OP_WRITE_FIXED) {
      $0.pointee.buf_index = fixed ?? 0
      $0.pointee.fd = file.rawValue
      $0.pointee.addr = UInt64(UInt(bitPattern: base))
      $0.pointee.len = UInt32(count)
      $0.pointee.off = UInt64(bitPattern: offset)
      $0.pointee.op_flags = durable ? UInt32(CLINUX_RWF_DSYNC) : 0
    }
  }

  public mutating func registeredBuffer() -> FileBuffer? { registered.take() }

  public mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    files.takeBuffer(completion)
  }

  public mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    let slot = files.take(dataOnly ? .synchronizeData : .synchronize, token)
    submitFile(slot, CLINUX_OP_FSYNC) {
      $0.pointee.fd = file.rawValue
      $0.pointee.op_flags = dataOnly ? UInt32(CLINUX_FSYNC_DATASYNC) : 0
    }
  }

  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, _ token: Token
  ) {
    let slot = files.take(.allocate, token)
    submitFile(slot, CLINUX_OP_FALLOCATE) {
      $0.pointee.fd = file.rawValue
      $0.pointee.off = UInt64(bitPattern: offset)
      $0.pointee.addr = UInt64(bitPattern: length)
    }
  }

  /// IORING_OP_FTRUNCATE is 6.9; before that the engine makes the call itself, which is quick
  /// on a file whose blocks are already allocated.
  public mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    let slot = files.take(.truncate, token)
    files.slots[Int(slot)].descriptor = file.rawValue
    files.slots[Int(slot)].offset = length
    submitFile(slot, CLINUX_OP_FTRUNCATE) {
      $0.pointee.fd = file.rawValue
      $0.pointee.off = UInt64(bitPattern: length)
    }
  }

  public mutating func rename(_ from: String, to: String, _ token: Token) {
    let slot = files.take(.rename, token)
    let first = strdup(from)
    let second = strdup(to)
    files.slots[Int(slot)].path = first
    files.slots[Int(slot)].secondPath = second
    submitFile(slot, CLINUX_OP_RENAMEAT) {
      $0.pointee.fd = AT_FDCWD
      $0.pointee.addr = UInt64(UInt(bitPattern: first))
      $0.pointee.len = UInt32(bitPattern: AT_FDCWD)
      $0.pointee.off = UInt64(UInt(bitPattern: second))
    }
  }

  public mutating func unlink(_ path: String, _ token: Token) {
    let slot = files.take(.unlink, token)
    let text = strdup(path)
    files.slots[Int(slot)].path = text
    submitFile(slot, CLINUX_OP_UNLINKAT) {
      $0.pointee.fd = AT_FDCWD
      $0.pointee.addr = UInt64(UInt(bitPattern: text))
    }
  }

  public mutating func closeFile(_ file: Descriptor, _ token: Token) {
    let slot = files.take(.close, token)
    submitFile(slot, CLINUX_OP_CLOSE) { $0.pointee.fd = file.rawValue }
  }

  mutating func fileOperationEnded(_ index: UInt32, _ result: Int32) {
    let slot = files.slots + Int(index)
    var result = result
    if slot.pointee.kind == .truncate && result == -EINVAL {
      result = ftruncate(slot.pointee.descriptor, off_t(slot.pointee.offset)) == 0 ? 0 : -errno
    }
    statistics.operationsInFlight -= 1
    queue.append(files.finish(index, result))
  }
}
