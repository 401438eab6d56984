// File operations on threads: the loop fills a slot, a thread makes the calls, the loop reports.

import CLinux
import Glibc

extension Epoll {
  private mutating func submit(_ slot: UInt32) {
    statistics.operationsInFlight += 1
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
    _ file: Descriptor, offset: Int64, length: Int64, _ token: Token
  ) {
    let slot = files.take(.allocate, token)
    files.slots[Int(slot)].descriptor = file.rawValue
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
    let slot = files.take(.close, token)
    files.slots[Int(slot)].descriptor = file.rawValue
    submit(slot)
  }

  mutating func fileOperationEnded(_ index: UInt32) {
    statistics.operationsInFlight -= 1
    queue.append(files.finish(index, files.slots[Int(index)].result))
  }
}
