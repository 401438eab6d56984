// Operations with a control slot: timeouts, no-operations, polls, reported shutdowns and closes,
// messages, and what a chain or a splice needs. One entry each; the slot holds what the kernel reads.
//
// TRAP: (file) the caller's order of calls, which no event changes: chains are made and closed by
// code in one go. The offset of a stored property is known at compile time.

import CLinux
import Glibc

extension Uring {
  // MARK: Submission

  /// Takes a slot and submits the operation, or adds it to the chain that is being made.
  @inline(__always)
  mutating func submit(
    _ kind: ControlKind, _ token: Token,
    _ fill: (UnsafeMutablePointer<ControlOperation>) -> Void
  ) {
    guard let index = control.take(kind, token) else { return refuse(token) }
    fill(control.slots + Int(index))
    if chainIsOpen && !linking.isOpen {
      control.slots[Int(index)].chain = chains.append(
        ChainStep(kind: .control, index: index, cell: nil, descriptor: -1, token: token))
    } else {
      issue(index)
    }
  }

  /// No slot is free. A step of a chain takes all that follow it along.
  @inline(never)
  private mutating func refuse(_ token: Token) {
    if chainIsOpen {
      statistics.operationsInFlight += 1
      _ = chains.append(
        ChainStep(kind: .control, index: .max, cell: nil, descriptor: -1, token: token))
    } else {
      later.append(Completion(token: token, result: -ENOBUFS))
    }
  }

  /// Notes what is in flight, and hands the operation to the kernel.
  mutating func issue(_ index: UInt32) {
    let slot = control.slots + Int(index)
    slot.pointee.started = true
    if linking.isOpen { slot.pointee.chain = Self.linked }
    switch slot.pointee.kind {
    case .acceptOne: prepareAcceptOne(index)
    case .close: prepareClose(slot)
    case .receive:
      precondition(
        sockets[slot.pointee.descriptor].pointee.state.isDisjoint(
          with: [.receiving, .relaySource]),
        "two receives on one socket")
      chainedReceives += 1
      // It cannot wait for a buffer.
      _ = largeRing.refill(from: large)
    default: break
    }
    armControl(index)
  }

  mutating func armControl(_ index: UInt32) {
    let slot = control.slots + Int(index)
    let entry = stepEntry()
    entry.pointee.user_data = controlUserData(index)
    switch slot.pointee.kind {
    case .nop, .message: entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    case .timeout: fillTimeout(entry, slot)
    case .poll: fillPoll(entry, slot.pointee.descriptor, slot.pointee.events)
    case .shutdown:
      entry.pointee.opcode = UInt8(CLINUX_OP_SHUTDOWN)
      aim(entry, at: slot.pointee.descriptor)
      entry.pointee.len = UInt32(bitPattern: slot.pointee.second)
    case .close: fillClose(entry, slot.pointee.descriptor)
    case .splice: fillSplice(entry, slot)
    case .acceptOne: fillAcceptOne(entry, slot)
    case .receive:
      entry.pointee.opcode = UInt8(CLINUX_OP_RECV)
      aim(entry, at: slot.pointee.descriptor)
      entry.pointee.flags |= UInt8(CLINUX_SQE_BUFFER_SELECT)
      entry.pointee.buf_index = 1
    }
  }

  @inline(__always)
  func controlUserData(_ index: UInt32) -> UInt64 {
    Self.userData(.control, control.slots[Int(index)].generation, index)
  }

  private func fillTimeout(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<ControlOperation>
  ) {
    slot.pointee.time = clinux_timespec64(
      tv_sec: slot.pointee.deadline / 1_000_000_000,
      tv_nsec: slot.pointee.deadline % 1_000_000_000)
    entry.pointee.opcode = UInt8(CLINUX_OP_TIMEOUT)
    entry.pointee.fd = -1
    // SAFETY: the slot does not move.
    entry.pointee.addr = UInt64(UInt(bitPattern: slot) + Self.timeOffset)
    entry.pointee.len = 1
    // That time has passed is what was asked for: a chain goes on (5.16).
    entry.pointee.op_flags = UInt32(CLINUX_TIMEOUT_ABS | CLINUX_TIMEOUT_ETIME_SUCCESS)
  }

  private static let timeOffset = UInt(MemoryLayout<ControlOperation>.offset(of: \.time)!)

  func fillPoll(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ descriptor: Int32, _ events: UInt32
  ) {
    entry.pointee.opcode = UInt8(CLINUX_OP_POLL_ADD)
    aim(entry, at: descriptor)
    entry.pointee.op_flags = events
  }

  // MARK: Completion

  mutating func controlEnded(_ index: UInt32, _ generation: UInt32, _ completion: clinux_cqe) {
    let slot = control.slots + Int(index)
    guard Int(index) < control.capacity, slot.pointee.inUse,
      slot.pointee.generation == generation
    else { return engineBug("a control operation completed that nobody has in flight") }
    var result = completion.res
    if Self.isInterrupted(result) { result = slot.pointee.cancelled ? -ECANCELED : -EINTR }
    switch slot.pointee.kind {
    case .acceptOne: acceptedOne(index, result)
    case .receive: receivedInChain(index, completion)
    case .splice: continueSplice(index, result)
    case .close: closeEnded(index, result)
    case .poll:
      foreignPollEnded = true
      endControl(index, result < 0 ? result : result & Self.pollMask)
    case .message: messageCarried(index, result)
    case .nop, .timeout, .shutdown: endControl(index, result)
    }
  }

  /// What `PollEvents` knows of.
  private static let pollMask: Int32 = 0x1F

  mutating func endControl(
    _ index: UInt32, _ result: Int32, buffer: UInt32 = Completion.noBuffer
  ) {
    let slot = control.slots + Int(index)
    let chain = slot.pointee.chain
    var completion = Completion(token: slot.pointee.token, result: result, buffer: buffer)
    if buffer != Completion.noBuffer { completion.flags = Completion.largeFlag }
    let succeeded = result >= 0 || (slot.pointee.kind == .timeout && result == -ETIME)
    if slot.pointee.cancelled && chain == Self.linked { linkedCancels -= 1 }
    control.release(index)
    queue.append(completion)
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  // MARK: Time

  public mutating func timeout(at deadline: Int64, _ token: Token) {
    // The kernel takes no negative time; all of it has passed.
    submit(.timeout, token) { $0.pointee.deadline = max(deadline, 0) }
  }

  /// Outside chains a no-operation has nothing to remember but its token: the measure of what the
  /// engine adds to the kernel's own cost of an operation.
  public mutating func nop(_ token: Token) {
    guard !chainIsOpen, control.hasRoom, let entry = ring.nextEntry() else {
      return nopOtherwise(token)
    }
    entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    entry.pointee.user_data = Self.userData(.nop, 0, control.takeNop(token))
  }

  /// In a chain, without a free slot, or with a full queue. Apart, so that the usual way needs no
  /// stack frame.
  @inline(never)
  private mutating func nopOtherwise(_ token: Token) {
    guard !chainIsOpen, control.hasRoom else { return submit(.nop, token) { _ in } }
    let index = control.takeNop(token)
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    entry.pointee.user_data = Self.userData(.nop, 0, index)
  }

  @inline(__always)
  mutating func nopEnded(_ index: UInt32) {
    queue.append(Completion(token: control.endNop(index), result: 0))
  }

  // MARK: Foreign descriptors

  public var pollDescriptor: Int32 {
    pollSignal.descriptor(of: ring.descriptor, waking: wakeDescriptor)
  }

  public mutating func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token) {
    precondition(!chainIsOpen, "a poll cannot be a step of a chain")
    submit(.poll, token) {
      $0.pointee.descriptor = foreign
      $0.pointee.events = events.rawValue
    }
  }

  // MARK: Shutdown and close

  public mutating func shutdown(
    _ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token
  ) {
    submit(.shutdown, token) {
      $0.pointee.descriptor = socket.rawValue
      $0.pointee.second = Sockets.how(direction)
    }
  }

  public mutating func close(_ descriptor: Descriptor, _ token: Token) {
    submit(.close, token) { $0.pointee.descriptor = descriptor.rawValue }
  }

  /// The record ends with the submission, as that of any close; in a chain of the kernel's not
  /// before it is known that the chain got there.
  private func prepareClose(_ slot: UnsafeMutablePointer<ControlOperation>) {
    let descriptor = slot.pointee.descriptor
    guard sockets.mayClose(descriptor) else {
      // EBADF, whoever has the number by now.
      slot.pointee.descriptor = -1
      return
    }
    guard slot.pointee.chain == Self.linked else {
      requireNoReceiveStep(descriptor)
      return sockets.retire(descriptor)
    }
    let record = sockets[descriptor]
    slot.pointee.events = record.pointee.generation
    record.pointee.state.insert(.closingStep)
  }

  private mutating func closeEnded(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let descriptor = slot.pointee.descriptor
    let wasLinked = slot.pointee.chain == Self.linked
    // After any answer but these the number is gone, close(2).
    let isClosed = result != -ECANCELED && !(wasLinked && result == -EBADF)
    if wasLinked && descriptor >= 0 {
      let record = sockets[descriptor]
      if record.pointee.generation == slot.pointee.events {
        record.pointee.state.remove(.closingStep)
        if isClosed { sockets.retire(descriptor) }
      }
    }
    if isClosed && descriptor >= Descriptor.directBit {
      direct.giveBack(Descriptor(rawValue: descriptor))
    }
    endControl(index, result)
  }

  /// - Precondition: no chain receives on the descriptor.
  func requireNoReceiveStep(_ descriptor: Int32) {
    guard chainedReceives > 0 else { return }
    for i in 0..<control.capacity {
      let slot = control.slots + i
      precondition(
        !slot.pointee.inUse || slot.pointee.kind != .receive || !slot.pointee.started
          || slot.pointee.descriptor != descriptor,
        "close with an operation in flight")
    }
  }
}
