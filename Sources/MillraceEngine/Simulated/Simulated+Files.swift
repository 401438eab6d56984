// File operations: each takes its time, and is done when that has passed. A crash of the disk in
// between finds a write half done.

import CLinux
import Glibc

extension Simulated {
  /// Has the disk do something after a while. `body` gives the result.
  mutating func submit(
    _ operation: SimulatedFileOperation, _ kind: SimulatedTrace.Kind, isSync: Bool = false,
    _ body: @escaping () -> Int
  ) {
    statistics.operationsInFlight += 1
    let index = fileOperations.add(operation)
    var time = world.dice.roll(isSync ? world.conditions.syncLatency : world.conditions.diskLatency)
    if isSync && (world.disk.has(.slow) || world.dice.chance(world.conditions.slowSyncs)) {
      time += world.dice.roll(world.conditions.slowSync)
    }
    world.note(kind, operation.token.rawValue, Int64(time))
    let crashes = world.disk.crashes
    world.after(Int64(time)) { [inbox, unowned world] in
      if let write = operation.underWay {
        world.disk.writesUnderWay.removeAll { $0 === write }
        operation.underWay = nil
      }
      // The machine that asked is no more.
      let result = world.disk.crashes == crashes ? body() : -Int(EIO)
      inbox.finished(.file(index, Int32(clamping: result)))
    }
  }

  mutating func fileOperationEnded(_ index: Int, _ result: Int32) {
    guard let operation = fileOperations[index] else { return }
    statistics.operationsInFlight -= 1
    var result = result
    if let opened = operation.opened {
      operation.opened = nil
      if let number = open(SimulatedHandle(.file(opened))) {
        result = number
      } else {
        opened.close()
        result = -EMFILE
      }
    }
    var completion = Completion(token: operation.token, result: result)
    if operation.base != nil {
      completion.buffer = fileOperations.name(index)
      completion.flags |= Completion.fileFlag
    } else {
      fileOperations.remove(index)
    }
    queue.append(completion)
  }

  /// The open file behind a descriptor, or nil: EBADF.
  private func file(_ descriptor: Descriptor) -> SimulatedOpenFile? {
    guard case .file(let file)? = handle(descriptor.rawValue)?.thing else { return nil }
    return file
  }

  public mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    let operation = SimulatedFileOperation(token)
    submit(operation, .openFile) { [unowned world] in
      if world.isOutOfDescriptors { return -Int(EMFILE) }
      switch world.disk.open(path, flags: flags, mode: mode) {
      case .opened(let file):
        operation.opened = file
        return 0
      case .failed(let code): return Int(code)
      }
    }
  }

  public mutating func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    let opened = self.file(file)
    let operation = SimulatedFileOperation(token, buffer)
    submit(operation, .read) { [unowned world] in
      guard let opened, let base = operation.base else { return -Int(EBADF) }
      let room = UnsafeMutableRawBufferPointer(start: base, count: count)
      let result = opened.read(into: room, at: offset)
      if result > 0 {
        world.note(
          .read, token.rawValue, Int64(result),
          world.trace.sum(UnsafeRawBufferPointer(rebasing: room[..<result])))
      }
      return result
    }
  }

  public mutating func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    let opened = self.file(file)
    let operation = SimulatedFileOperation(token, buffer)
    let bytes = UnsafeRawBufferPointer(start: operation.base, count: count)
    world.note(.write, token.rawValue, offset, world.trace.sum(bytes))
    if let inode = opened?.file, inode.device == nil {
      let write = SimulatedWrite(inode, Array(bytes), offset: Int(offset))
      operation.underWay = write
      world.disk.writesUnderWay.append(write)
    }
    submit(operation, .write, isSync: durable) {
      guard let opened else { return -Int(EBADF) }
      return opened.write(bytes, at: offset, durable: durable)
    }
  }

  public mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    precondition(completion.hasFileBuffer, "a completion without a file buffer was redeemed")
    guard let buffer = fileOperations.redeem(completion).takeBuffer() else {
      preconditionFailure("a file buffer was redeemed twice")
    }
    return buffer
  }

  public mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    let opened = self.file(file)
    submit(SimulatedFileOperation(token), .synchronize, isSync: true) {
      opened.map { Int($0.synchronize()) } ?? -Int(EBADF)
    }
  }

  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, _ token: Token
  ) {
    let opened = self.file(file)
    submit(SimulatedFileOperation(token), .resizeFile) {
      opened.map { Int($0.allocate(offset, length)) } ?? -Int(EBADF)
    }
  }

  public mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    let opened = self.file(file)
    submit(SimulatedFileOperation(token), .resizeFile) {
      opened.map { Int($0.truncate(length)) } ?? -Int(EBADF)
    }
  }

  public mutating func rename(_ from: String, to: String, _ token: Token) {
    submit(SimulatedFileOperation(token), .rename) { [unowned world] in
      Int(world.disk.rename(from, to: to))
    }
  }

  public mutating func unlink(_ path: String, _ token: Token) {
    submit(SimulatedFileOperation(token), .unlink) { [unowned world] in
      if world.network.paths.remove("unix:" + path) != nil { return 0 }
      return Int(world.disk.unlink(path))
    }
  }

  public mutating func closeFile(_ file: Descriptor, _ token: Token) {
    let opened = self.file(file)
    // The number is free when it is closed, not when that is reported.
    if opened != nil { release(file.rawValue) }
    submit(SimulatedFileOperation(token), .closeFile) {
      guard let opened else { return -Int(EBADF) }
      opened.close()
      return 0
    }
  }
}
