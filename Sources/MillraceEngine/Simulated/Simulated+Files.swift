// File operations: each takes its time, and is done when that has passed. A crash of the disk in
// between finds a write half done.

import CLinux
import Glibc

extension Simulated {
  /// Has the disk do something after a while, or in its turn of a chain.
  /// - Parameters:
  ///   - file: what it is about; `none`: a path.
  ///   - isSync: it takes as long as a sync.
  ///   - prepare: called when it begins.
  ///   - body: does it, and gives the result.
  private mutating func submit(
    _ operation: SimulatedFileOperation, _ kind: SimulatedTrace.Kind,
    on file: Descriptor = .none, isSync: Bool = false,
    prepare: @escaping (inout Simulated) -> Void = { _ in }, _ body: @escaping () -> Int
  ) {
    // The place is taken at submission, so that a chain's steps are bounded as well.
    let index = fileOperations.add(operation)
    let isStep = isStep(
      operation.token,
      {
        $0.statistics.operationsInFlight += 1
        prepare(&$0)
        $0.begin(index, kind, isSync: isSync, body)
      }, on: file, cancel: { $0.fileOperationEnded(index, -ECANCELED) })
    if isStep { return }
    statistics.operationsInFlight += 1
    prepare(&self)
    begin(index, kind, isSync: isSync, body)
  }

  private mutating func begin(
    _ index: Int, _ kind: SimulatedTrace.Kind, isSync: Bool, _ body: @escaping () -> Int
  ) {
    guard let operation = fileOperations[index] else { return }
    operation.chain = beginning
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
      result = place(opened, operation.slot)
    }
    var completion = Completion(token: operation.token, result: result)
    if operation.flag != 0 {
      completion.buffer = fileOperations.name(index)
      completion.flags |= operation.flag
    } else {
      fileOperations.remove(index)
    }
    queue.append(completion)
    let chain = operation.chain
    operation.chain = nil
    advance(chain, result >= 0 && Int(result) >= operation.leastSuccess)
  }

  /// Gives an opened file its number, or its slot.
  private mutating func place(_ opened: SimulatedOpenFile, _ slot: Descriptor?) -> Int32 {
    if let slot {
      fill(slot, SimulatedHandle(.file(opened)))
      return 0
    }
    if let number = open(SimulatedHandle(.file(opened))) { return number }
    opened.close()
    return -EMFILE
  }

  /// The open file behind a descriptor, or nil: EBADF.
  private func file(_ descriptor: Descriptor) -> SimulatedOpenFile? {
    guard case .file(let file)? = handle(descriptor.rawValue)?.thing else { return nil }
    return file
  }

  // MARK: Names

  public mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    refuseInChain()
    open(path, flags, mode, nil, token)
  }

  public mutating func open(
    _ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token
  ) {
    open(path, flags, mode, slot, token)
  }

  private mutating func open(
    _ path: String, _ flags: Int32, _ mode: UInt32, _ slot: Descriptor?, _ token: Token
  ) {
    let operation = SimulatedFileOperation(token)
    operation.slot = slot
    submit(operation, .openFile) { [unowned world] in
      if slot == nil && world.isOutOfDescriptors { return -Int(EMFILE) }
      switch world.disk.open(path, flags: flags, mode: mode) {
      case .opened(let file):
        operation.opened = file
        return 0
      case .failed(let code): return Int(code)
      }
    }
  }

  public mutating func status(_ file: Descriptor, _ token: Token) {
    let operation = SimulatedFileOperation(token)
    var opened: SimulatedOpenFile?
    submit(operation, .status, on: file, prepare: { opened = $0.file(file) }) {
      guard let opened else { return -Int(EBADF) }
      operation.brings(opened.status)
      return 0
    }
  }

  public mutating func status(path: String, _ token: Token) {
    let operation = SimulatedFileOperation(token)
    submit(operation, .status) { [unowned world] in
      switch world.disk.status(path) {
      case .failed(let code): return Int(code)
      case .opened(let file):
        operation.brings(file.status)
        file.close()
        return 0
      }
    }
  }

  public mutating func takeStatus(_ completion: Completion) -> FileStatus {
    precondition(completion.hasStatus, "a completion without a status was redeemed")
    guard let status = fileOperations.redeem(completion).status else {
      preconditionFailure("the result of a file operation was redeemed twice")
    }
    return status
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

  // MARK: Content

  public mutating func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    read(file, SimulatedFileOperation(token, buffer, count: count), offset)
  }

  public mutating func read(
    _ file: Descriptor, into buffers: consuming FileBufferList, offset: Int64, _ token: Token
  ) {
    precondition(offset >= 0)
    read(file, SimulatedFileOperation(token, buffers), offset)
  }

  private mutating func read(
    _ file: Descriptor, _ operation: SimulatedFileOperation, _ offset: Int64
  ) {
    var opened: SimulatedOpenFile?
    submit(operation, .read, on: file, prepare: { opened = $0.file(file) }) { [unowned world] in
      guard let opened else { return -Int(EBADF) }
      var total = 0
      for part in operation.parts {
        let result = opened.read(into: part, at: offset + Int64(total))
        if result < 0 { return total > 0 ? total : result }
        world.note(
          .read, operation.token.rawValue, Int64(result),
          world.trace.sum(UnsafeRawBufferPointer(rebasing: part[..<result])))
        total += result
        if result < part.count { break }
      }
      return total
    }
  }

  public mutating func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token
  ) {
    precondition(count >= 0 && count <= buffer.capacity && offset >= 0)
    write(file, SimulatedFileOperation(token, buffer, count: count), offset, durable)
  }

  public mutating func write(
    _ file: Descriptor, from buffers: consuming FileBufferList, offset: Int64, durable: Bool,
    _ token: Token
  ) {
    precondition(offset >= 0)
    write(file, SimulatedFileOperation(token, buffers), offset, durable)
  }

  private mutating func write(
    _ file: Descriptor, _ operation: SimulatedFileOperation, _ offset: Int64, _ durable: Bool
  ) {
    let sum = operation.parts.reduce(UInt64(0)) {
      $0 &* 31 &+ world.trace.sum(UnsafeRawBufferPointer($1))
    }
    world.note(.write, operation.token.rawValue, offset, sum)
    var opened: SimulatedOpenFile?
    submit(
      operation, .write, on: file, isSync: durable,
      prepare: {
        opened = $0.file(file)
        guard let inode = opened?.writable else { return }
        let write = SimulatedWrite(inode, operation.bytes, offset: Int(offset))
        operation.underWay = write
        $0.world.disk.writesUnderWay.append(write)
      }
    ) {
      guard let opened else { return -Int(EBADF) }
      // The alignment of one part stands for all: a list that mixes them is not our callers'.
      if operation.parts.count == 1 {
        return opened.write(
          UnsafeRawBufferPointer(operation.parts[0]), at: offset, durable: durable)
      }
      return operation.bytes.withUnsafeBytes {
        opened.write($0, at: offset, durable: durable, isJoined: true)
      }
    }
  }

  public mutating func registeredBuffer() -> FileBuffer? {
    let buffer = registered.take()
    if buffer == nil { statistics.registeredBufferRefusals += 1 }
    return buffer
  }

  public mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    precondition(completion.hasFileBuffer, "a completion without a file buffer was redeemed")
    guard let buffer = fileOperations.redeem(completion).takeBuffer() else {
      preconditionFailure("a file buffer was redeemed twice")
    }
    return buffer
  }

  public mutating func takeFileBuffers(_ completion: Completion) -> FileBufferList {
    precondition(completion.hasFileBuffers, "a completion without file buffers was redeemed")
    guard let list = fileOperations.redeem(completion).takeList() else {
      preconditionFailure("file buffers were redeemed twice")
    }
    return list
  }

  // MARK: Durability and size

  public mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    onOpen(file, token, .synchronize, isSync: true) { $0.synchronize() }
  }

  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, keepsSize: Bool, _ token: Token
  ) {
    onOpen(file, token, .resizeFile) { $0.allocate(offset, length, keepsSize: keepsSize) }
  }

  public mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    onOpen(file, token, .resizeFile) { $0.truncate(length) }
  }

  private mutating func onOpen(
    _ file: Descriptor, _ token: Token, _ kind: SimulatedTrace.Kind, isSync: Bool = false,
    _ body: @escaping (SimulatedOpenFile) -> Int32
  ) {
    var opened: SimulatedOpenFile?
    submit(
      SimulatedFileOperation(token), kind, on: file, isSync: isSync,
      prepare: { opened = $0.file(file) }
    ) { opened.map { Int(body($0)) } ?? -Int(EBADF) }
  }

  public mutating func closeFile(_ file: Descriptor, _ token: Token) {
    var opened: SimulatedOpenFile?
    submit(
      SimulatedFileOperation(token), .closeFile, on: file,
      prepare: {
        opened = $0.file(file)
        // The number is free when it is closed, not when that is reported.
        if opened != nil { $0.release(file.rawValue) }
      }
    ) {
      guard let opened else { return -Int(EBADF) }
      opened.close()
      return 0
    }
  }
}
