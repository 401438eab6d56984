// File operations through the ring. What an operation needs lives in a slot until the terminal
// completion, and its entry is made from the slot: at once, or when its turn in a chain has come. With
// `EngineFeatures.threadedWrites` a thread makes those calls that wait for a disk.
//
// TRAP: (file) counts and offsets are the caller's own: the log's positions in files that it made,
// within buffers that it made.

import CLinux
import Glibc

extension Uring {
  // MARK: Submission

  private mutating func submitFile(_ index: UInt32) {
    statistics.operationsInFlight += 1
    guard chainIsOpen && !linking.isOpen else { return issueFile(index) }
    files.slots[Int(index)].chain = chains.append(
      ChainStep(
        kind: .file, index: index, cell: nil, descriptor: -1,
        token: files.slots[Int(index)].token))
  }

  mutating func issueFile(_ index: UInt32) {
    let slot = files.slots + Int(index)
    if linking.isOpen { slot.pointee.chain = Self.linked }
    if slot.pointee.kind == .openDirect {
      beginFilling(Descriptor(slot: slot.pointee.count).rawValue)
    }
    if let threads, isForThreads(slot) {
      slot.pointee.isThreaded = true
      threads.submit(index)
    } else {
      armFile(index)
    }
  }

  /// A step of the kernel's chain is the kernel's, and so is what it keeps in its own table.
  private func isForThreads(_ slot: UnsafeMutablePointer<FileOperation>) -> Bool {
    switch slot.pointee.kind {
    case .write, .writeVector, .synchronize, .synchronizeData:
      slot.pointee.chain != Self.linked && slot.pointee.descriptor < Descriptor.directBit
    default: false
    }
  }

  /// What the threads are done with.
  mutating func takeWritten() {
    guard let threads else { return }
    while let index = threads.takeFinished() {
      fileOperationEnded(index, files.slots[Int(index)].result)
    }
  }

  private mutating func armFile(_ index: UInt32) {
    let slot = files.slots + Int(index)
    let entry = stepEntry()
    entry.pointee.user_data = Self.userData(.file, 0, index)
    switch slot.pointee.kind {
    case .open, .openDirect, .status, .rename, .unlink: fillPath(entry, index)
    case .read, .write, .readVector, .writeVector: fillTransfer(entry, slot)
    case .synchronize, .synchronizeData:
      entry.pointee.opcode = UInt8(CLINUX_OP_FSYNC)
      aim(entry, at: slot.pointee.descriptor)
      let dataOnly = slot.pointee.kind == .synchronizeData
      entry.pointee.op_flags = dataOnly ? UInt32(CLINUX_FSYNC_DATASYNC) : 0
    case .allocate:
      entry.pointee.opcode = UInt8(CLINUX_OP_FALLOCATE)
      aim(entry, at: slot.pointee.descriptor)
      entry.pointee.off = UInt64(bitPattern: slot.pointee.offset)
      entry.pointee.addr = UInt64(bitPattern: Int64(slot.pointee.count))
      // The mode travels in `len`, io_uring_prep_fallocate(3).
      entry.pointee.len = UInt32(bitPattern: slot.pointee.flags)
    case .truncate:
      entry.pointee.opcode = UInt8(CLINUX_OP_FTRUNCATE)
      aim(entry, at: slot.pointee.descriptor)
      entry.pointee.off = UInt64(bitPattern: slot.pointee.offset)
    case .close:
      entry.pointee.opcode = UInt8(CLINUX_OP_CLOSE)
      entry.pointee.fd = slot.pointee.descriptor
    }
  }

  private func fillPath(_ entry: UnsafeMutablePointer<clinux_sqe>, _ index: UInt32) {
    let slot = files.slots + Int(index)
    entry.pointee.fd = AT_FDCWD
    entry.pointee.addr = UInt64(UInt(bitPattern: slot.pointee.path))
    switch slot.pointee.kind {
    case .open, .openDirect:
      entry.pointee.opcode = UInt8(CLINUX_OP_OPENAT)
      entry.pointee.len = slot.pointee.mode
      if slot.pointee.kind == .open {
        entry.pointee.op_flags = UInt32(bitPattern: slot.pointee.flags | O_CLOEXEC)
      } else {
        fill(
          Descriptor(slot: slot.pointee.count).rawValue, by: entry, flags: slot.pointee.flags,
          cloexec: O_CLOEXEC)
      }
    case .status:
      entry.pointee.opcode = UInt8(CLINUX_OP_STATX)
      entry.pointee.len = Self.statusMask
      entry.pointee.off = UInt64(UInt(bitPattern: files.prepareStatus(index)))
      if slot.pointee.flags != 0 {
        entry.pointee.op_flags = UInt32(slot.pointee.flags)
        aim(entry, at: slot.pointee.descriptor)
      }
    case .rename:
      entry.pointee.opcode = UInt8(CLINUX_OP_RENAMEAT)
      entry.pointee.len = UInt32(bitPattern: AT_FDCWD)
      entry.pointee.off = UInt64(UInt(bitPattern: slot.pointee.secondPath))
    default: entry.pointee.opcode = UInt8(CLINUX_OP_UNLINKAT)
    }
  }

  /// STATX_BASIC_STATS | STATX_DIOALIGN (6.1; unknown bits are ignored), statx(2).
  private static let statusMask: UInt32 = 0x7FF | 0x2000
  /// AT_EMPTY_PATH, which glibc shows under _GNU_SOURCE only.
  private static let emptyPath: Int32 = 0x1000

  private func fillTransfer(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<FileOperation>
  ) {
    let isRead = slot.pointee.kind == .read || slot.pointee.kind == .readVector
    aim(entry, at: slot.pointee.descriptor)
    entry.pointee.off = UInt64(bitPattern: slot.pointee.offset)
    entry.pointee.op_flags = slot.pointee.durable ? UInt32(CLINUX_RWF_DSYNC) : 0
    if let list = slot.pointee.list {
      entry.pointee.opcode = UInt8(isRead ? CLINUX_OP_READV : CLINUX_OP_WRITEV)
      entry.pointee.addr = UInt64(UInt(bitPattern: list.pointee.vectors))
      entry.pointee.len = UInt32(list.pointee.count)
      return
    }
    guard let base = slot.pointee.buffer else { return engineBug("a transfer without memory") }
    entry.pointee.addr = UInt64(UInt(bitPattern: base))
    entry.pointee.len = UInt32(slot.pointee.count)
    if let place = RegisteredBuffers.registration(of: base, slot.pointee.bufferOwner) {
      entry.pointee.opcode = UInt8(isRead ? CLINUX_OP_READ_FIXED : CLINUX_OP_WRITE_FIXED)
      entry.pointee.buf_index = place
    } else {
      entry.pointee.opcode = UInt8(isRead ? CLINUX_OP_READ : CLINUX_OP_WRITE)
    }
  }

  mutating func fileOperationEnded(_ index: UInt32, _ kernelResult: Int32) {
    let slot = files.slots + Int(index)
    var result = kernelResult
    if Self.isInterrupted(result) {
      // What a close was interrupted in comes after the number has gone, close(2).
      if slot.pointee.kind == .close {
        result = -EINTR
      } else if slot.pointee.cancelled {
        result = -ECANCELED
      } else if slot.pointee.chain != Self.linked {
        return armFile(index)
      } else {
        // The steps behind it have been cancelled.
        result = -EINTR
      }
    }
    if slot.pointee.kind == .truncate && result == -EINVAL && slot.pointee.chain != Self.linked,
      let number = systemDescriptor(slot.pointee.descriptor)
    {
      result = ftruncate(number, off_t(slot.pointee.offset)) == 0 ? 0 : -errno
    }
    if slot.pointee.kind == .open && Int(result) >= sockets.limit {
      Glibc.close(result)
      result = -EMFILE
    }
    if slot.pointee.kind == .openDirect {
      result = endFilling(Descriptor(slot: slot.pointee.count).rawValue, result)
    }
    let chain = slot.pointee.chain
    if slot.pointee.cancelled && chain == Self.linked { linkedCancels -= 1 }
    let succeeded = slot.pointee.isWhole(result)
    statistics.operationsInFlight -= 1
    queue.append(files.finish(index, result))
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  /// Whether a worker thread was interrupted: how it is told of a cancellation, and what a SIGSTOP of
  /// the process does to it, a debugger's for one. Some operations then end with what the kernel keeps
  /// to itself elsewhere (ERESTARTSYS and the like, 512 to 516; seen of openat on Linux 6.18).
  @inline(__always)
  static func isInterrupted(_ result: Int32) -> Bool {
    result == -EINTR || (-516 ... -512).contains(result)
  }

  // MARK: Operations

  public mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    let index = files.take(.open, token)
    files.slots[Int(index)].path = strdup(path)
    files.slots[Int(index)].flags = flags
    files.slots[Int(index)].mode = mode
    files.slots[Int(index)].descriptor = -1
    submitFile(index)
  }

  public mutating func open(
    _ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token
  ) {
    precondition(slot.isDirect, "open into a descriptor that is not a direct slot")
    let index = files.take(.openDirect, token)
    files.slots[Int(index)].path = strdup(path)
    files.slots[Int(index)].flags = flags
    files.slots[Int(index)].mode = mode
    files.slots[Int(index)].count = Int(slot.slot)
    files.slots[Int(index)].descriptor = -1
    submitFile(index)
  }

  /// Of a slot that the kernel keeps the answer is EBADF: its statx takes numbers and paths only.
  public mutating func status(_ file: Descriptor, _ token: Token) {
    let index = files.take(.status, token)
    files.slots[Int(index)].path = strdup("")
    files.slots[Int(index)].flags = Self.emptyPath
    files.slots[Int(index)].descriptor = file.rawValue
    submitFile(index)
  }

  public mutating func status(path: String, _ token: Token) {
    let index = files.take(.status, token)
    files.slots[Int(index)].path = strdup(path)
    files.slots[Int(index)].flags = 0
    files.slots[Int(index)].descriptor = -1
    submitFile(index)
  }

  public mutating func takeStatus(_ completion: Completion) -> FileStatus {
    files.takeStatus(completion)
  }

  public mutating func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token
  ) {
    transfer(.read, file, buffer, count, offset, false, token)
  }

  public mutating func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token
  ) {
    transfer(.write, file, buffer, count, offset, durable, token)
  }

  private mutating func transfer(
    _ kind: FileOperationKind, _ file: Descriptor, _ buffer: consuming FileBuffer, _ count: Int,
    _ offset: Int64, _ durable: Bool, _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    let index = files.take(kind, token)
    let slot = files.slots + Int(index)
    slot.pointee.bufferCapacity = buffer.capacity
    slot.pointee.bufferOwner = buffer.owner
    slot.pointee.buffer = buffer.surrender()
    slot.pointee.descriptor = file.rawValue
    slot.pointee.count = count
    slot.pointee.offset = offset
    slot.pointee.durable = durable
    submitFile(index)
  }

  public mutating func registeredBuffer() -> FileBuffer? { registered.take() }

  public mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    files.takeBuffer(completion)
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
    let slot = files.slots + Int(index)
    slot.pointee.count = buffers.byteCount
    slot.pointee.list = buffers.surrender()
    slot.pointee.descriptor = file.rawValue
    slot.pointee.offset = offset
    slot.pointee.durable = durable
    submitFile(index)
  }

  public mutating func takeFileBuffers(_ completion: Completion) -> FileBufferList {
    files.takeList(completion)
  }

  public mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    let index = files.take(dataOnly ? .synchronizeData : .synchronize, token)
    files.slots[Int(index)].descriptor = file.rawValue
    submitFile(index)
  }

  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, keepsSize: Bool, _ token: Token
  ) {
    let index = files.take(.allocate, token)
    files.slots[Int(index)].descriptor = file.rawValue
    files.slots[Int(index)].flags = keepsSize ? CLINUX_FALLOCATE_KEEP_SIZE : 0
    files.slots[Int(index)].offset = offset
    files.slots[Int(index)].count = Int(length)
    submitFile(index)
  }

  /// IORING_OP_FTRUNCATE is 6.9; before that the engine makes the call itself, which is quick
  /// on a file whose blocks are already allocated. In a chain of the kernel's it then ends with
  /// EINVAL: what follows it has been cancelled already.
  public mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    let index = files.take(.truncate, token)
    files.slots[Int(index)].descriptor = file.rawValue
    files.slots[Int(index)].offset = length
    submitFile(index)
  }

  public mutating func rename(_ from: String, to: String, _ token: Token) {
    let index = files.take(.rename, token)
    files.slots[Int(index)].path = strdup(from)
    files.slots[Int(index)].secondPath = strdup(to)
    files.slots[Int(index)].descriptor = -1
    submitFile(index)
  }

  public mutating func unlink(_ path: String, _ token: Token) {
    let index = files.take(.unlink, token)
    files.slots[Int(index)].path = strdup(path)
    files.slots[Int(index)].descriptor = -1
    submitFile(index)
  }

  public mutating func closeFile(_ file: Descriptor, _ token: Token) {
    if file.isDirect { return close(file, token) }
    let index = files.take(.close, token)
    files.slots[Int(index)].descriptor = file.rawValue
    submitFile(index)
  }
}
