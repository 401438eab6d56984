// Timeouts, polls, splices, single accepts, reported shutdowns and closes: one slot and one entry
// each; and cancellation of anything.

import CLinux
import Glibc

extension Uring {
  // MARK: Submission

  /// Takes a slot and makes its entry, in the ring or, for a chain that the engine runs, beside it.
  @inline(__always)
  mutating func submit(
    _ kind: ControlKind, _ token: Token,
    _ fill: (UnsafeMutablePointer<ControlOperation>) -> Void
  ) {
    guard let index = control.take(kind, token) else { return refuse(token) }
    fill(control.slots + Int(index))
    if chains.isOpen {
      control.slots[Int(index)].chain = chains.append(
        ChainStep(kind: .control, index: index, cell: nil, descriptor: -1, token: token))
    } else {
      startControl(index)
    }
  }

  /// No slot is free. A step of a chain takes all that follow it along.
  @inline(never)
  private mutating func refuse(_ token: Token) {
    if chains.isOpen {
      statistics.operationsInFlight += 1
      _ = chains.append(
        ChainStep(kind: .control, index: .max, cell: nil, descriptor: -1, token: token))
      return
    }
    if linkedCount >= 0 {
      // An entry that must fail stands for it: the kernel ends the rest.
      let entry = self.entry()
      entry.pointee.opcode = UInt8(CLINUX_OP_CLOSE)
      entry.pointee.fd = -1
      entry.pointee.user_data = Self.userData(.ignored, 0, 0)
      link(entry)
    }
    later.append(Completion(token: token, result: -ENOBUFS))
  }

  mutating func startControl(_ index: UInt32) {
    let slot = control.slots + Int(index)
    slot.pointee.started = true
    if slot.pointee.kind == .acceptOne { markAccepting(index) }
    let entry = self.entry()
    entry.pointee.user_data = Self.userData(.control, slot.pointee.generation, index)
    switch slot.pointee.kind {
    case .nop, .message: entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    case .timeout:
      entry.pointee.opcode = UInt8(CLINUX_OP_TIMEOUT)
      entry.pointee.fd = -1
      // SAFETY: the slot does not move and outlives the operation.
      entry.pointee.addr = UInt64(
        UInt(bitPattern: UnsafeMutableRawPointer(slot) + ControlOperation.timeOffset))
      entry.pointee.len = 1
      entry.pointee.op_flags = UInt32(CLINUX_TIMEOUT_ABS | CLINUX_TIMEOUT_ETIME_SUCCESS)
    case .poll:
      entry.pointee.opcode = UInt8(CLINUX_OP_POLL_ADD)
      entry.pointee.fd = slot.pointee.descriptor
      entry.pointee.op_flags = slot.pointee.events
    case .shutdown:
      entry.pointee.opcode = UInt8(CLINUX_OP_SHUTDOWN)
      aim(entry, at: slot.pointee.descriptor)
      entry.pointee.len = UInt32(slot.pointee.second)
    case .close: fillClose(entry, slot)
    case .splice: fillSplice(entry, slot)
    case .acceptOne: fillAccept(entry, slot)
    }
    if linkedCount >= 0 { link(entry) }
  }

  private func fillClose(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<ControlOperation>
  ) {
    entry.pointee.opcode = UInt8(CLINUX_OP_CLOSE)
    let number = slot.pointee.descriptor
    if number >= Descriptor.directBit && kernelKeepsSlots {
      entry.pointee.file_index = (number & ~Descriptor.directBit) + 1
    } else {
      aim(entry, at: number)
    }
  }

  private func fillSplice(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<ControlOperation>
  ) {
    entry.pointee.opcode = UInt8(CLINUX_OP_SPLICE)
    aim(entry, at: slot.pointee.second)
    entry.pointee.off = .max
    entry.pointee.addr = .max
    entry.pointee.len = UInt32(clamping: slot.pointee.count)
    entry.pointee.op_flags = UInt32(CLINUX_SPLICE_MOVE)
    let input = slot.pointee.descriptor
    guard input >= Descriptor.directBit else {
      entry.pointee.file_index = input
      return
    }
    if kernelKeepsSlots {
      entry.pointee.file_index = input & ~Descriptor.directBit
      entry.pointee.op_flags |= CLINUX_SPLICE_F_FD_IN_FIXED
    } else {
      entry.pointee.file_index = direct[input & ~Descriptor.directBit]
    }
  }

  private func fillAccept(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<ControlOperation>
  ) {
    entry.pointee.opcode = UInt8(CLINUX_OP_ACCEPT)
    aim(entry, at: slot.pointee.descriptor)
    if slot.pointee.second >= 0 && kernelKeepsSlots {
      entry.pointee.file_index = (slot.pointee.second & ~Descriptor.directBit) + 1
    } else {
      entry.pointee.op_flags = UInt32(SOCK_CLOEXEC.rawValue)
    }
  }

  private mutating func markAccepting(_ index: UInt32) {
    let record = sockets[control.slots[Int(index)].descriptor]
    precondition(!record.pointee.state.contains(.accepting), "two accepts on one listener")
    record.pointee.setupToken = Token(rawValue: UInt64(index))
    record.pointee.state.formUnion([.accepting, .acceptingOne])
  }

  // MARK: Completion

  mutating func controlEnded(_ index: UInt32, _ generation: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    guard slot.pointee.inUse, slot.pointee.generation == generation else {
      return engineBug("a control operation completed that nobody has in flight")
    }
    var result = result
    switch slot.pointee.kind {
    case .acceptOne:
      guard let accepted = acceptedOne(index, result) else { return }
      result = accepted
    case .close: if result != -ECANCELED { closed(slot) }
    case .message: if result == 0 { result = slot.pointee.second }
    case .poll: if result > 0 { result &= 0x1F }
    case .nop, .timeout, .shutdown, .splice: break
    }
    endControl(index, result)
  }

  mutating func endControl(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let chain = slot.pointee.chain
    let succeeded = result >= 0 || (slot.pointee.kind == .timeout && result == -ETIME)
    let completion = Completion(token: slot.pointee.token, result: result)
    control.release(index)
    queue.append(completion)
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  /// The number of a descriptor that was closed as an operation may be somebody else's by now.
  private mutating func closed(_ slot: UnsafeMutablePointer<ControlOperation>) {
    let number = slot.pointee.descriptor
    let record = sockets[number]
    guard record.pointee.generation == slot.pointee.events else { return }
    sockets.retire(number)
    if number >= Descriptor.directBit { direct.giveBack(Descriptor(rawValue: number)) }
  }

  /// - Returns: what to report, or nil if the accept goes on.
  private mutating func acceptedOne(_ index: UInt32, _ result: Int32) -> Int32? {
    let slot = control.slots + Int(index)
    let listener = sockets[slot.pointee.descriptor]
    let isStep = slot.pointee.chain >= 0 || slot.pointee.second >= 0
    if result < 0 && Self.isTransientAcceptError(result) && !slot.pointee.cancelled && !isStep {
      listener.pointee.state.subtract([.accepting, .acceptingOne])
      startControl(index)
      return nil
    }
    listener.pointee.state.subtract([.accepting, .acceptingOne])
    guard result >= 0 else { return result }
    let place = slot.pointee.second
    guard place >= 0 else {
      guard Int(result) < sockets.limit else {
        statistics.connectionsRefused += 1
        Glibc.close(result)
        return -EMFILE
      }
      admit(result, from: listener)
      return result
    }
    if !kernelKeepsSlots { direct[place & ~Descriptor.directBit] = result }
    let local = listener.pointee.state.intersection(.local)
    sockets[place].pointee.state.formUnion(local.union(.open))
    return 0
  }

  // MARK: Operations

  /// Outside chains a no-operation has nothing to remember but its token: the measure of what the
  /// engine adds to the kernel's own cost of an operation.
  public mutating func nop(_ token: Token) {
    guard linkedCount < 0, !chains.isOpen, let index = control.takeNop(token) else {
      return submit(.nop, token) { _ in }
    }
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    entry.pointee.user_data = Self.userData(.nop, 0, index)
  }

  @inline(__always)
  mutating func nopEnded(_ index: UInt32) {
    queue.append(Completion(token: control.endNop(index), result: 0))
  }

  public mutating func timeout(at deadline: Int64, _ token: Token) {
    let deadline = max(deadline, 0)
    submit(.timeout, token) {
      $0.pointee.time = clinux_timespec64(
        tv_sec: deadline / 1_000_000_000, tv_nsec: deadline % 1_000_000_000)
    }
  }

  public mutating func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token) {
    precondition(!isMakingChain, "a poll cannot be a step of a chain")
    submit(.poll, token) {
      $0.pointee.descriptor = foreign
      $0.pointee.events = events.rawValue
    }
  }

  public var pollDescriptor: Int32 { ring.descriptor }

  public mutating func shutdown(
    _ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token
  ) {
    submit(.shutdown, token) {
      $0.pointee.descriptor = socket.rawValue
      $0.pointee.second = Sockets.how(direction)
    }
  }

  public mutating func close(_ descriptor: Descriptor, _ token: Token) {
    let record = sockets[descriptor.rawValue]
    if !isMakingChain {
      precondition(
        record.pointee.state.isDisjoint(with: .inFlight) && record.pointee.sendCell == nil,
        "close with an operation in flight")
    }
    submit(.close, token) {
      $0.pointee.descriptor = descriptor.rawValue
      // Whose number it is now, to be compared when the close has happened.
      $0.pointee.events = record.pointee.generation
    }
  }

  public mutating func acceptOne(
    _ listener: Descriptor, into slot: Descriptor?, _ token: Token
  ) {
    precondition(slot?.isDirect ?? true, "accept into a descriptor that is no slot")
    submit(.acceptOne, token) {
      $0.pointee.descriptor = listener.rawValue
      $0.pointee.second = slot?.rawValue ?? -1
    }
  }

  /// IORING_OP_SPLICE always occupies one of the kernel's worker threads while it waits.
  public mutating func splice(
    from input: Descriptor, to output: Descriptor, count: Int, _ token: Token
  ) {
    submit(.splice, token) {
      $0.pointee.descriptor = input.rawValue
      $0.pointee.second = output.rawValue
      $0.pointee.count = count
    }
  }

  public mutating func pipe(
    capacity: Int
  ) throws(SystemFailure) -> (output: Descriptor, input: Descriptor) {
    var ends: (Int32, Int32) = (-1, -1)
    let code = withUnsafeMutableBytes(of: &ends) {
      clinux_pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress!, O_CLOEXEC)
    }
    guard code == 0 else { throw SystemFailure(code: errno, operation: "pipe2") }
    guard Int(max(ends.0, ends.1)) < sockets.limit else {
      Glibc.close(ends.0)
      Glibc.close(ends.1)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    _ = clinux_set_pipe_size(ends.1, Int32(clamping: capacity))
    _ = sockets.open(ends.0)
    _ = sockets.open(ends.1)
    return (Descriptor(rawValue: ends.0), Descriptor(rawValue: ends.1))
  }

  // MARK: Slots

  public mutating func takeSlot() -> Descriptor? {
    guard let slot = direct.take() else { return nil }
    let record = sockets.open(slot.rawValue)
    record.pointee.state.remove(.open)
    record.pointee.state.insert(.reserved)
    return slot
  }

  public mutating func returnSlot(_ slot: Descriptor) {
    let record = sockets[slot.rawValue]
    precondition(
      slot.isDirect && record.pointee.state.contains(.reserved), "no slot that was taken")
    precondition(
      !record.pointee.state.contains(.open), "a slot was returned with something open in it")
    sockets.retire(slot.rawValue)
    direct.giveBack(slot)
  }

  // MARK: Cancellation

  mutating func cancelControl(_ index: UInt32) {
    let slot = control.slots + Int(index)
    slot.pointee.cancelled = true
    cancel(Self.userData(.control, slot.pointee.generation, index))
  }

  public mutating func cancel(_ token: Token) {
    for descriptor in 0..<Int32(sockets.highest.pointee) {
      cancel(on: descriptor) { $0 == token }
    }
    for slot in 0..<direct.count {
      cancel(on: Descriptor(slot: slot).rawValue) { $0 == token }
    }
    cancelControl { $0.pointee.token == token }
    cancelSends { $0.pointee.token == token }
    cancelFiles { slot, _ in slot.pointee.token == token }
  }

  public mutating func cancelAll(_ descriptor: Descriptor) {
    let number = descriptor.rawValue
    cancel(on: number) { _ in true }
    cancelControl {
      $0.pointee.kind != .timeout && $0.pointee.kind != .nop
        && ($0.pointee.descriptor == number
          || ($0.pointee.kind == .splice && $0.pointee.second == number))
    }
    cancelSends { $0.pointee.descriptor == number }
    cancelFiles { slot, _ in slot.pointee.descriptor == number }
  }

  private mutating func cancel(on descriptor: Int32, where matches: (Token) -> Bool) {
    let record = sockets[descriptor]
    let state = record.pointee.state
    if !state.isDisjoint(with: .receiving) && matches(record.pointee.receiveToken) {
      stopReceiving(Descriptor(rawValue: descriptor))
    }
    if state.contains(.accepting) && !state.contains(.acceptingOne)
      && matches(record.pointee.setupToken)
    {
      stopAccepting(Descriptor(rawValue: descriptor))
    }
    if state.contains(.connecting) && matches(record.pointee.setupToken) {
      cancelConnect(Descriptor(rawValue: descriptor))
    }
    if state.contains(.relaySource) {
      let relay = relays.relays[Int(record.pointee.receiveToken.rawValue)]
      if matches(relay.token) { stopRelay(from: Descriptor(rawValue: descriptor)) }
    }
    if state.contains(.relaySink), let cell = record.pointee.sendCell {
      let relay = cell.assumingMemoryBound(to: Relay.self)
      if matches(relay.pointee.token) {
        stopRelay(from: Descriptor(rawValue: relay.pointee.source))
      }
    }
  }

  private mutating func cancelControl(
    where matches: (UnsafeMutablePointer<ControlOperation>) -> Bool
  ) {
    guard control.inUse > 0 else { return }
    for i in 0..<control.capacity {
      let slot = control.slots + i
      guard slot.pointee.inUse, slot.pointee.started, !slot.pointee.cancelled, matches(slot)
      else { continue }
      switch slot.pointee.kind {
      case .nop, .message, .close: break
      default: cancelControl(UInt32(i))
      }
    }
  }

  /// Looks through the frames: the rare case.
  private mutating func cancelSends(where matches: (UnsafeMutablePointer<FrameState>) -> Bool) {
    for index in frames.indicesInUse() {
      let state = frames.cell(index).assumingMemoryBound(to: FrameState.self)
      guard state.pointee.descriptor >= 0, !state.pointee.isSent, matches(state) else { continue }
      state.pointee.cancelled = true
      cancel(Self.userData(.send, 0, index))
    }
  }

  private mutating func cancelFiles(
    where matches: (UnsafeMutablePointer<FileOperation>, Int) -> Bool
  ) {
    guard files.inUse > 0 else { return }
    for i in 0..<files.capacity where files.slots[i].inUse && matches(files.slots + i, i) {
      cancel(Self.userData(.file, 0, UInt32(i)))
    }
  }
}
