// File operations through the ring. Memory and paths live in a slot until the terminal completion.

import CLinux
import Glibc

extension Uring {
  /// Makes an operation's entry, in the ring or, for a chain that the engine runs, beside it.
  private mutating func submitFile(
    _ slot: UInt32, _ opcode: Int, on descriptor: Int32,
    _ body: (UnsafeMutablePointer<clinux_sqe>) -> Void
  ) {
    statistics.operationsInFlight += 1
    if chains.isOpen {
      let entry = fileEntries + Int(slot)
      entry.initialize(to: clinux_sqe())
      fill(entry, slot, opcode, descriptor, body)
      files.slots[Int(slot)].chain = chains.append(
        ChainStep(
          kind: .file, index: slot, cell: nil, descriptor: descriptor,
          token: files.slots[Int(slot)].token))
      return
    }
    let entry = self.entry()
    fill(entry, slot, opcode, descriptor, body)
    aim(entry, at: descriptor)
    if linkedCount >= 0 { link(entry) }
  }

  private func fill(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UInt32, _ opcode: Int,
    _ descriptor: Int32, _ body: (UnsafeMutablePointer<clinux_sqe>) -> Void
  ) {
    entry.pointee.opcode = UInt8(opcode)
    entry.pointee.user_data = Self.userData(.file, 0, slot)
    body(entry)
  }

  /// Starts an operation of a chain that the engine runs.
  mutating func startFile(_ step: ChainStep) {
    let entry = self.entry()
    entry.initialize(to: fileEntries[Int(step.index)])
    aim(entry, at: step.descriptor)
  }

  public mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    let slot = files.take(.open, token)
    let text = strdup(path)
    files.slots[Int(slot)].path = text
    submitFile(slot, CLINUX_OP_OPENAT, on: AT_FDCWD) {
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
    files.slots[Int(slot)].count = count
    files.slots[Int(slot)].bufferCapacity = buffer.capacity
    files.slots[Int(slot)].bufferOwner = buffer.owner
    let fixed = RegisteredBuffers.registration(of: buffer.base, buffer.owner)
    let base = buffer.surrender()
    files.slots[Int(slot)].buffer = base
    submitFile(slot, fixed == nil ? CLINUX_OP_READ : CLINUX_OP_READ_FIXED, on: file.rawValue) {
      $0.pointee.buf_index = fixed ?? 0
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
    files.slots[Int(slot)].count = count
    files.slots[Int(slot)].bufferCapacity = buffer.capacity
    files.slots[Int(slot)].bufferOwner = buffer.owner
    let fixed = RegisteredBuffers.registration(of: buffer.base, buffer.owner)
    let base = buffer.surrender()
    files.slots[Int(slot)].buffer = base
    submitFile(slot, fixed == nil ? CLINUX_OP_WRITE : CLINUX_OP_WRITE_FIXED, on: file.rawValue) {
      $0.pointee.buf_index = fixed ?? 0
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
    submitFile(slot, CLINUX_OP_FSYNC, on: file.rawValue) {
      $0.pointee.op_flags = dataOnly ? UInt32(CLINUX_FSYNC_DATASYNC) : 0
    }
  }

  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, _ token: Token
  ) {
    let slot = files.take(.allocate, token)
    submitFile(slot, CLINUX_OP_FALLOCATE, on: file.rawValue) {
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
    submitFile(slot, CLINUX_OP_FTRUNCATE, on: file.rawValue) {
      $0.pointee.off = UInt64(bitPattern: length)
    }
  }

  public mutating func rename(_ from: String, to: String, _ token: Token) {
    let slot = files.take(.rename, token)
    let first = strdup(from)
    let second = strdup(to)
    files.slots[Int(slot)].path = first
    files.slots[Int(slot)].secondPath = second
    submitFile(slot, CLINUX_OP_RENAMEAT, on: AT_FDCWD) {
      $0.pointee.addr = UInt64(UInt(bitPattern: first))
      $0.pointee.len = UInt32(bitPattern: AT_FDCWD)
      $0.pointee.off = UInt64(UInt(bitPattern: second))
    }
  }

  public mutating func unlink(_ path: String, _ token: Token) {
    let slot = files.take(.unlink, token)
    let text = strdup(path)
    files.slots[Int(slot)].path = text
    submitFile(slot, CLINUX_OP_UNLINKAT, on: AT_FDCWD) {
      $0.pointee.addr = UInt64(UInt(bitPattern: text))
    }
  }

  public mutating func closeFile(_ file: Descriptor, _ token: Token) {
    if file.isDirect { return close(file, token) }
    let slot = files.take(.close, token)
    submitFile(slot, CLINUX_OP_CLOSE, on: file.rawValue) { _ in }
  }

  mutating func fileOperationEnded(_ index: UInt32, _ result: Int32) {
    let slot = files.slots + Int(index)
    var result = result
    if slot.pointee.kind == .truncate && result == -EINVAL {
      result = ftruncate(slot.pointee.descriptor, off_t(slot.pointee.offset)) == 0 ? 0 : -errno
    }
    if slot.pointee.kind == .openDirect && result >= 0 {
      // The kernel says 0 for a slot of its own table, and gives us a descriptor otherwise.
      if !kernelKeepsSlots { direct[Int32(slot.pointee.offset)] = result }
      sockets[Descriptor.directBit | Int32(slot.pointee.offset)].pointee.state.insert(.open)
      result = 0
    }
    let chain = slot.pointee.chain
    let succeeded = slot.pointee.isWhole(result)
    statistics.operationsInFlight -= 1
    queue.append(files.finish(index, result))
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  public mutating func open(
    _ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token
  ) {
    precondition(slot.isDirect, "open into a descriptor that is no slot")
    let index = files.take(.openDirect, token)
    let text = strdup(path)
    files.slots[Int(index)].path = text
    files.slots[Int(index)].offset = Int64(slot.slot)
    // A slot is in no table that exec(2) hands on: the kernel refuses O_CLOEXEC for it.
    let flags = kernelKeepsSlots ? flags & ~O_CLOEXEC : flags | O_CLOEXEC
    let place = kernelKeepsSlots ? slot.slot + 1 : 0
    submitFile(index, CLINUX_OP_OPENAT, on: AT_FDCWD) {
      $0.pointee.addr = UInt64(UInt(bitPattern: text))
      $0.pointee.len = mode
      $0.pointee.op_flags = UInt32(bitPattern: flags)
      $0.pointee.file_index = place
    }
  }

  /// STATX_BASIC_STATS and STATX_DIOALIGN, statx(2).
  private static let statusMask: UInt32 = 0x7FF | 0x2000
  /// AT_EMPTY_PATH: of the descriptor itself.
  private static let emptyPath: UInt32 = 0x1000

  public mutating func status(_ file: Descriptor, _ token: Token) {
    let index = files.take(.status, token)
    let status = files.prepareStatus(index)
    let text = strdup("")
    files.slots[Int(index)].path = text
    submitFile(index, CLINUX_OP_STATX, on: file.rawValue) {
      $0.pointee.addr = UInt64(UInt(bitPattern: text))
      $0.pointee.off = UInt64(UInt(bitPattern: status))
      $0.pointee.len = Self.statusMask
      $0.pointee.op_flags = Self.emptyPath
    }
  }

  public mutating func status(path: String, _ token: Token) {
    let index = files.take(.status, token)
    let status = files.prepareStatus(index)
    let text = strdup(path)
    files.slots[Int(index)].path = text
    submitFile(index, CLINUX_OP_STATX, on: AT_FDCWD) {
      $0.pointee.addr = UInt64(UInt(bitPattern: text))
      $0.pointee.off = UInt64(UInt(bitPattern: status))
      $0.pointee.len = Self.statusMask
    }
  }

  public mutating func takeStatus(_ completion: Completion) -> FileStatus {
    files.takeStatus(completion)
  }

  public mutating func read(
    _ file: Descriptor, into buffers: consuming FileBufferList, offset: Int64, _ token: Token
  ) {
    transfer(.readVector, file, buffers, offset, false, token)
  }

  public mutating func write(
    _ file: Descriptor, from buffers: consuming FileBufferList, offset: Int64, durable: Bool,
    _ token: Token
  ) {
    transfer(.writeVector, file, buffers, offset, durable, token)
  }

  private mutating func transfer(
    _ kind: FileOperationKind, _ file: Descriptor, _ buffers: consuming FileBufferList,
    _ offset: Int64, _ durable: Bool, _ token: Token
  ) {
    precondition(buffers.count > 0 && offset >= 0)
    let index = files.take(kind, token)
    files.slots[Int(index)].count = buffers.byteCount
    let list = buffers.surrender()
    files.slots[Int(index)].list = list
    let opcode = kind == .readVector ? CLINUX_OP_READV : CLINUX_OP_WRITEV
    submitFile(index, opcode, on: file.rawValue) {
      $0.pointee.addr = UInt64(UInt(bitPattern: list.pointee.vectors))
      $0.pointee.len = UInt32(list.pointee.count)
      $0.pointee.off = UInt64(bitPattern: offset)
      $0.pointee.op_flags = durable ? UInt32(CLINUX_RWF_DSYNC) : 0
    }
  }

  public mutating func takeFileBuffers(_ completion: Completion) -> FileBufferList {
    files.takeList(completion)
  }
}
