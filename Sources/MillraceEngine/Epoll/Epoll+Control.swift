// Chains, timeouts, cancellation, foreign descriptors and messages: what concerns no transfer.
//
// TRAP: (file) the caller's order of calls, which no event changes: chains are made and closed by
// code in one go. A step's cell is set when the step is made.

import CLinux
import Glibc

extension Epoll {
  // MARK: Submission

  /// Takes a slot and starts the operation, or adds it to the chain that is being made.
  @inline(__always)
  mutating func submit(
    _ kind: ControlKind, _ token: Token,
    _ fill: (UnsafeMutablePointer<ControlOperation>) -> Void
  ) {
    guard let index = control.take(kind, token) else { return refuse(token) }
    fill(control.slots + Int(index))
    statistics.operationsInFlight += 1
    if chains.isOpen {
      control.slots[Int(index)].chain = chains.append(
        ChainStep(kind: .control, index: index, cell: nil, descriptor: -1, token: token))
    } else {
      startControl(index)
    }
  }

  /// No slot is free. A step of a chain takes all that follow it along.
  private mutating func refuse(_ token: Token) {
    statistics.operationsInFlight += 1
    if chains.isOpen {
      _ = chains.append(
        ChainStep(
          kind: .control, index: .max, cell: nil, descriptor: -1, token: token))
    } else {
      statistics.operationsInFlight -= 1
      later.append(Completion(token: token, result: -ENOBUFS))
    }
  }

  mutating func startControl(_ index: UInt32) {
    let slot = control.slots + Int(index)
    slot.pointee.started = true
    switch slot.pointee.kind {
    case .nop: endControl(index, 0)
    case .timeout: timers.insert(index, slot.pointee.deadline)
    case .poll: startPoll(index)
    case .shutdown:
      statistics.systemCalls += 1
      let code = Glibc.shutdown(target(slot.pointee.descriptor), slot.pointee.second)
      endControl(index, code == 0 ? 0 : -errno)
    case .close:
      let descriptor = slot.pointee.descriptor
      // EBADF, whoever has the number by now.
      endControl(index, sockets.mayClose(descriptor) ? closeNow(descriptor) : -EBADF)
    case .splice: trySplice(index)
    case .acceptOne: startAcceptOne(index)
    case .message: endControl(index, slot.pointee.second)
    case .receive: engineBug("a kind of control operation that this engine does not use")
    }
  }

  /// Ends an operation. Outside a chain its completion comes with the next turn, because it may
  /// have ended inside its submission.
  mutating func endControl(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let chain = slot.pointee.chain
    let completion = Completion(token: slot.pointee.token, result: result)
    let succeeded = result >= 0 || (slot.pointee.kind == .timeout && result == -ETIME)
    control.release(index)
    statistics.operationsInFlight -= 1
    guard chain >= 0 else { return later.append(completion) }
    queue.append(completion)
    stepEnded(chain, succeeded: succeeded)
  }

  public mutating func nop(_ token: Token) { submit(.nop, token) { _ in } }

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

  // MARK: Chains

  public mutating func beginChain() { chains.begin() }
  public mutating func endChain() { launch(chains.finishMaking()) }

  mutating func start(_ step: ChainStep, of chain: Int32) {
    switch step.kind {
    case .file: startFile(step.index)
    case .control:
      if step.index == .max {
        statistics.operationsInFlight -= 1
        queue.append(Completion(token: step.token, result: -ENOBUFS))
        stepEnded(chain, succeeded: false)
      } else {
        startControl(step.index)
      }
    case .send: startSend(step)
    case .receive: startReceive(step)
    }
  }

  mutating func abandon(_ step: ChainStep) {
    statistics.operationsInFlight -= 1
    switch step.kind {
    case .file: queue.append(files.finish(step.index, -ECANCELED))
    case .control:
      if step.index != .max { control.release(step.index) }
      queue.append(Completion(token: step.token, result: -ECANCELED))
    case .send:
      SendFrame.recycle(step.cell!)
      queue.append(Completion(token: step.token, result: -ECANCELED))
    case .receive:
      queue.append(Completion(token: step.token, result: -ECANCELED))
    }
  }

  // MARK: Time

  public mutating func timeout(at deadline: Int64, _ token: Token) {
    submit(.timeout, token) { $0.pointee.deadline = deadline }
  }

  @inline(never)
  mutating func fireTimers() {
    while timers.nextDeadline <= now, let index = timers.popFirst() {
      let chain = control.slots[Int(index)].chain
      let completion = Completion(token: control.slots[Int(index)].token, result: -ETIME)
      control.release(index)
      statistics.operationsInFlight -= 1
      queue.append(completion)
      if chain >= 0 { stepEnded(chain, succeeded: true) }
    }
  }

  // MARK: Foreign descriptors

  /// In an event's data: the rest is a control slot and its generation.
  static let foreignMark: UInt64 = 1 << 63

  public mutating func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token) {
    precondition(!chains.isOpen, "a poll cannot be a step of a chain")
    submit(.poll, token) {
      $0.pointee.descriptor = foreign
      $0.pointee.events = events.rawValue
    }
  }

  private mutating func startPoll(_ index: UInt32) {
    let slot = control.slots + Int(index)
    var event = epoll_event()
    event.events = slot.pointee.events | CLINUX_EPOLLONESHOT
    event.data.u64 =
      Self.foreignMark | UInt64(slot.pointee.generation) << 32 | UInt64(index)
    statistics.systemCalls += 1
    if epoll_ctl(descriptor, EPOLL_CTL_ADD, slot.pointee.descriptor, &event) == 0 { return }
    // A regular file is never waited for, epoll_ctl(2), and always ready, poll(2).
    let ready = slot.pointee.events & (CLINUX_EPOLLIN | CLINUX_EPOLLOUT)
    endControl(index, errno == EPERM ? Int32(ready) : -errno)
  }

  mutating func foreignReady(_ event: epoll_event) {
    let index = UInt32(truncatingIfNeeded: event.data.u64)
    let generation = UInt32(truncatingIfNeeded: event.data.u64 >> 32) & 0xFFFF
    // The alarm has no slot: it has done its work by ending the foreign loop's sleep.
    guard Int(index) < control.capacity else { return }
    let slot = control.slots + Int(index)
    guard slot.pointee.inUse, slot.pointee.kind == .poll,
      slot.pointee.generation == generation
    else { return }
    endPoll(index, Int32(bitPattern: event.events & 0x1F))
  }

  private mutating func endPoll(_ index: UInt32, _ result: Int32) {
    statistics.systemCalls += 1
    _ = epoll_ctl(descriptor, EPOLL_CTL_DEL, control.slots[Int(index)].descriptor, nil)
    let completion = Completion(token: control.slots[Int(index)].token, result: result)
    control.release(index)
    statistics.operationsInFlight -= 1
    queue.append(completion)
  }

  // MARK: Messages

  public var mailbox: Mailbox { box }

  public mutating func post(
    _ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token
  ) {
    precondition(!chains.isOpen, "a message cannot be a step of a chain")
    // Only with a slot: what is refused must not arrive.
    submit(.message, token) { $0.pointee.second = mailbox.put(value, remoteToken) }
  }

  mutating func takeMessages() {
    let count = box.takeAll(&messages)
    guard count > 0 else { return }
    statistics.messages += count
    for i in 0..<count {
      queue.append(Completion(token: messages[i].token, result: messages[i].value))
    }
    messages.removeAll(keepingCapacity: true)
  }

  // MARK: Cancellation

  public mutating func cancel(_ token: Token) {
    cancelWaitingSteps(with: token)
    for descriptor in 0..<Int32(sockets.highest.pointee) {
      cancel(on: descriptor) { $0 == token }
    }
    for slot in 0..<direct.count {
      cancel(on: Descriptor(slot: slot).rawValue) { $0 == token }
    }
    cancelControl { $0.pointee.token == token }
    cancelFiles { $0.pointee.token == token }
  }

  public mutating func cancelAll(_ descriptor: Descriptor) {
    let number = descriptor.rawValue
    // Of an operation that is about no descriptor the number is -1.
    guard number >= 0 && (!descriptor.isDirect || sockets.covers(number)) else { return }
    cancelWaitingSteps(on: number)
    // What is not the engine's (a polled descriptor, a file) may have any number.
    if sockets.covers(number) { cancel(on: number) { _ in true } }
    cancelControl {
      $0.pointee.kind != .timeout && $0.pointee.kind != .nop
        && ($0.pointee.descriptor == number
          || ($0.pointee.kind == .splice && $0.pointee.second == number))
    }
    // An empty slot stands for nothing, and operations on paths have no descriptor.
    let real = target(number)
    if real >= 0 { cancelFiles { $0.pointee.descriptor == real } }
  }

  private mutating func cancel(on descriptor: Int32, where matches: (Token) -> Bool) {
    let record = sockets[descriptor]
    let state = record.pointee.state
    guard state.contains(.open) else { return }
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
    if state.contains(.datagrams) {
      cancelDatagrams(record, where: matches)
    } else if let cell = record.pointee.sendCell {
      if state.contains(.relaySink) {
        let relay = cell.assumingMemoryBound(to: Relay.self)
        if matches(relay.pointee.token) {
          stopRelay(from: Descriptor(rawValue: relay.pointee.source))
        }
      } else if matches(cell.assumingMemoryBound(to: FrameState.self).pointee.token) {
        endSend(record, -ECANCELED)
      }
    }
  }

  private mutating func cancelControl(
    where matches: (UnsafeMutablePointer<ControlOperation>) -> Bool
  ) {
    guard control.inUse > 0 else { return }
    for i in 0..<control.capacity {
      let slot = control.slots + i
      guard slot.pointee.inUse, slot.pointee.started, matches(slot) else { continue }
      let index = UInt32(i)
      switch slot.pointee.kind {
      case .timeout: if timers.remove(index) { endControl(index, -ECANCELED) }
      case .poll: endPoll(index, -ECANCELED)
      case .splice: cancelSplice(index)
      case .acceptOne: stopAccepting(Descriptor(rawValue: slot.pointee.descriptor))
      case .nop, .shutdown, .close, .message, .receive: break
      }
    }
  }

  private mutating func cancelFiles(
    where matches: (UnsafeMutablePointer<FileOperation>) -> Bool
  ) {
    guard files.inUse > 0 else { return }
    for i in 0..<files.capacity {
      let slot = files.slots + i
      guard slot.pointee.inUse, matches(slot), threads.withdraw(UInt32(i)) else { continue }
      endFile(UInt32(i), -ECANCELED)
    }
  }
}
