// File operations on threads: the loop fills a slot, a thread makes the calls, the loop reports.
//
// TRAP: (file) counts and offsets are the caller's own: the log's positions in files that it made,
// within buffers that it made.

import CLinux
import Glibc

extension Epoll {
  private mutating func submit(_ slot: UInt32) {
    statistics.operationsInFlight += 1
    guard chains.isOpen else { return startFile(slot) }
    files.slots[Int(slot)].chain = chains.append(
      ChainStep(
        kind: .file, index: slot, cell: nil, descriptor: -1,
        token: files.slots[Int(slot)].token))
  }

  /// Hands an operation to the threads; what a direct slot stands for is known by now.
  mutating func startFile(_ slot: UInt32) {
    let operation = files.slots + Int(slot)
    if operation.pointee.descriptor >= Descriptor.directBit {
      // As the other engine's kernel: statx(2) needs a descriptor of the process.
      if operation.pointee.kind == .status { return endFile(slot, -EBADF) }
      operation.pointee.descriptor = target(operation.pointee.descriptor)
    }
    threads.submit(slot)
  }

  public mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    let slot = files.take(.open, token)
    files.slots[Int(slot)].path = strdup(path)
    files.slots[Int(slot)].flags = flags | O_CLOEXEC
    files.slots[Int(slot)].mode = mode
    submit(slot)
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
    _ kind: FileOperationKind, _ file: Descriptor, _ buffer: consuming FileBuffer,
    _ count: Int, _ offset: Int64, _ durable: Bool, _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    let slot = files.take(kind, token)
    let operation = files.slots + Int(slot)
    operation.pointee.bufferCapacity = buffer.capacity
    operation.pointee.bufferOwner = buffer.owner
    operation.pointee.buffer = buffer.surrender()
    operation.pointee.descriptor = file.rawValue
    operation.pointee.count = count
    operation.pointee.offset = offset
    operation.pointee.durable = durable
    submit(slot)
  }

  public mutating func registeredBuffer() -> FileBuffer? { registered.take() }

  public mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    files.takeBuffer(completion)
  }

  public mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    let slot = files.take(dataOnly ? .synchronizeData : .synchronize, token)
    files.slots[Int(slot)].descriptor = file.rawValue
    submit(slot)
  }

  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, keepsSize: Bool, _ token: Token
  ) {
    let slot = files.take(.allocate, token)
    files.slots[Int(slot)].descriptor = file.rawValue
    files.slots[Int(slot)].flags = keepsSize ? CLINUX_FALLOCATE_KEEP_SIZE : 0
    files.slots[Int(slot)].offset = offset
    files.slots[Int(slot)].count = Int(length)
    submit(slot)
  }

  public mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    let slot = files.take(.truncate, token)
    files.slots[Int(slot)].descriptor = file.rawValue
    files.slots[Int(slot)].offset = length
    submit(slot)
  }

  public mutating func rename(_ from: String, to: String, _ token: Token) {
    let slot = files.take(.rename, token)
    files.slots[Int(slot)].path = strdup(from)
    files.slots[Int(slot)].secondPath = strdup(to)
    submit(slot)
  }

  public mutating func unlink(_ path: String, _ token: Token) {
    let slot = files.take(.unlink, token)
    files.slots[Int(slot)].path = strdup(path)
    submit(slot)
  }

  public mutating func closeFile(_ file: Descriptor, _ token: Token) {
    // A slot is the engine's to free, which a thread must not do.
    if file.isDirect { return close(file, token) }
    let slot = files.take(.close, token)
    files.slots[Int(slot)].descriptor = file.rawValue
    submit(slot)
  }

  mutating func fileOperationEnded(_ index: UInt32) {
    let slot = files.slots + Int(index)
    if slot.pointee.kind == .open && Int(slot.pointee.result) >= sockets.limit {
      Glibc.close(slot.pointee.result)
      slot.pointee.result = -EMFILE
    }
    if slot.pointee.kind == .openDirect && slot.pointee.result >= 0 {
      direct[Int32(slot.pointee.count)] = slot.pointee.result
      sockets.open(Descriptor.directBit | Int32(slot.pointee.count))
        .pointee.state.insert(.file)
      slot.pointee.result = 0
    }
    endFile(index, slot.pointee.result)
  }

  mutating func endFile(_ index: UInt32, _ result: Int32) {
    let slot = files.slots + Int(index)
    let chain = slot.pointee.chain
    let succeeded = slot.pointee.isWhole(result)
    statistics.operationsInFlight -= 1
    queue.append(files.finish(index, result))
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  public mutating func open(
    _ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token
  ) {
    precondition(slot.isDirect, "open into a descriptor that is not a direct slot")
    let index = files.take(.openDirect, token)
    files.slots[Int(index)].path = strdup(path)
    files.slots[Int(index)].flags = flags | O_CLOEXEC
    files.slots[Int(index)].mode = mode
    files.slots[Int(index)].count = Int(slot.slot)
    submit(index)
  }

  public mutating func status(_ file: Descriptor, _ token: Token) {
    let index = files.take(.status, token)
    _ = files.prepareStatus(index)
    files.slots[Int(index)].descriptor = file.rawValue
    submit(index)
  }

  public mutating func status(path: String, _ token: Token) {
    let index = files.take(.status, token)
    _ = files.prepareStatus(index)
    files.slots[Int(index)].path = strdup(path)
    submit(index)
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
    let operation = files.slots + Int(index)
    operation.pointee.count = buffers.byteCount
    operation.pointee.list = buffers.surrender()
    operation.pointee.descriptor = file.rawValue
    operation.pointee.offset = offset
    operation.pointee.durable = durable
    submit(index)
  }

  public mutating func takeFileBuffers(_ completion: Completion) -> FileBufferList {
    files.takeList(completion)
  }
}
