// Pipes, splices and relays. The kernel hands every splice of a ring to a worker thread, and one that
// waits there keeps the thread from others; so the ring polls, and between sockets and pipes plain
// system calls move the bytes, which never wait. Only a file is the ring's to splice.
//
// TRAP: (file) the caller's order of calls and its own descriptors; two numbers have an address.

import CLinux
import Glibc

extension Uring {
  public mutating func pipe(
    capacity: Int
  ) throws(SystemFailure) -> (output: Descriptor, input: Descriptor) {
    var ends: (Int32, Int32) = (-1, -1)
    let code = withUnsafeMutableBytes(of: &ends) {
      clinux_pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress!, O_CLOEXEC)
    }
    guard code == 0 else { throw SystemFailure(code: errno, operation: "pipe2") }
    _ = clinux_set_pipe_size(ends.1, Int32(clamping: capacity))
    do throws(SystemFailure) {
      try adopt(ends.0, as: [])
    } catch {
      Glibc.close(ends.1)
      throw error
    }
    do throws(SystemFailure) {
      try adopt(ends.1, as: [])
    } catch {
      self.close(Descriptor(rawValue: ends.0))
      throw error
    }
    return (Descriptor(rawValue: ends.0), Descriptor(rawValue: ends.1))
  }

  // MARK: Splice

  /// What a splice's entry does next; it stands in the slot's `events`.
  private enum SpliceStep {
    static let awaitInput: UInt32 = 0
    static let move: UInt32 = 1
    static let awaitOutput: UInt32 = 2
  }

  public mutating func splice(
    from input: Descriptor, to output: Descriptor, count: Int, _ token: Token
  ) {
    precondition(!chainIsOpen, "a splice cannot be a step of a chain")
    RelaySlab.ignoreBrokenPipes()
    submit(.splice, token) {
      $0.pointee.descriptor = input.rawValue
      $0.pointee.second = output.rawValue
      $0.pointee.count = count
      $0.pointee.events = SpliceStep.awaitInput
    }
  }

  func fillSplice(
    _ entry: UnsafeMutablePointer<clinux_sqe>, _ slot: UnsafeMutablePointer<ControlOperation>
  ) {
    switch slot.pointee.events {
    case SpliceStep.awaitInput: fillPoll(entry, slot.pointee.descriptor, CLINUX_EPOLLIN)
    case SpliceStep.awaitOutput: fillPoll(entry, slot.pointee.second, CLINUX_EPOLLOUT)
    default:
      entry.pointee.opcode = UInt8(CLINUX_OP_SPLICE)
      aim(entry, at: slot.pointee.second)
      // Both offsets: where the files are.
      entry.pointee.off = .max
      entry.pointee.addr = .max
      entry.pointee.len = UInt32(clamping: slot.pointee.count)
      entry.pointee.op_flags = UInt32(CLINUX_SPLICE_MOVE | CLINUX_SPLICE_NONBLOCK)
      entry.pointee.file_index = slot.pointee.descriptor
      if slot.pointee.descriptor >= Descriptor.directBit {
        let number = slot.pointee.descriptor & ~Descriptor.directBit
        entry.pointee.file_index = hasTable ? number : direct[number]
        if hasTable { entry.pointee.op_flags |= CLINUX_SPLICE_F_FD_IN_FIXED }
      }
    }
  }

  /// A step has ended. Input, move; where that finds no room, output, move; and so on, because EAGAIN
  /// does not say which side it was.
  mutating func continueSplice(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let step = slot.pointee.events
    if step == SpliceStep.move {
      return moved(index, result)
    }
    if result < 0 { return endControl(index, result) }
    if slot.pointee.cancelled { return endControl(index, -ECANCELED) }
    slot.pointee.after = step
    slot.pointee.events = SpliceStep.move
    if let input = polled(slot.pointee.descriptor), let output = polled(slot.pointee.second) {
      moved(index, spliceNow(input, output, slot.pointee.count))
    } else {
      armControl(index)
    }
  }

  private mutating func moved(_ index: UInt32, _ result: Int32) {
    let slot = control.slots + Int(index)
    let mayGoOn = result == -EAGAIN || result == -EINTR
    guard mayGoOn, !slot.pointee.cancelled else {
      return endControl(index, mayGoOn ? -ECANCELED : result)
    }
    slot.pointee.events =
      slot.pointee.after == SpliceStep.awaitInput
      ? SpliceStep.awaitOutput : SpliceStep.awaitInput
    armControl(index)
  }

  /// What system calls take for a socket or a pipe; nil for a file, which has no record and for
  /// which nobody can wait, and for a slot of the kernel's.
  private func polled(_ descriptor: Int32) -> Int32? {
    guard Int(descriptor) < sockets.limit || descriptor >= Descriptor.directBit,
      sockets[descriptor].pointee.state.contains(.open)
    else { return nil }
    return systemDescriptor(descriptor)
  }

  /// splice(2) that does not wait, see `RelaySlab.socketsBlock`.
  private mutating func spliceNow(_ input: Int32, _ output: Int32, _ count: Int) -> Int32 {
    statistics.systemCalls += 7
    let before = (fcntl(input, F_GETFL), fcntl(output, F_GETFL))
    _ = fcntl(input, F_SETFL, before.0 | O_NONBLOCK)
    _ = fcntl(output, F_SETFL, before.1 | O_NONBLOCK)
    let result = clinux_splice(
      input, output, count, UInt32(CLINUX_SPLICE_MOVE | CLINUX_SPLICE_NONBLOCK))
    _ = fcntl(input, F_SETFL, before.0)
    _ = fcntl(output, F_SETFL, before.1)
    return Int32(clamping: result == -Int(EINTR) ? -Int(EAGAIN) : result)
  }

  // MARK: Relay

  public mutating func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod,
    _ token: Token
  ) {
    precondition(!chainIsOpen, "a relay cannot be a step of a chain")
    precondition(count >= 0)
    let from = sockets[source.rawValue]
    let to = sockets[sink.rawValue]
    precondition(
      from.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "a relay from a socket that is being read")
    precondition(to.pointee.sendCell == nil, "a relay to a socket that is being written")
    guard let input = systemDescriptor(source.rawValue),
      let output = systemDescriptor(sink.rawValue)
    else { return later.append(Completion(token: token, result: -EOPNOTSUPP)) }
    let (index, code) = relays.take(count, method, token)
    guard code == 0 else { return later.append(Completion(token: token, result: code)) }
    RelaySlab.ignoreBrokenPipes()
    let relay = relays.relays + Int(index)
    relay.pointee.source = source.rawValue
    relay.pointee.sink = sink.rawValue
    relay.pointee.sourceDescriptor = input
    relay.pointee.sinkDescriptor = output
    if relay.pointee.bySplice {
      relay.pointee.sourceFlags = fcntl(input, F_GETFL)
      relay.pointee.sinkFlags = fcntl(output, F_GETFL)
    }
    from.pointee.receiveToken = Token(rawValue: UInt64(index))
    from.pointee.state.insert(.relaySource)
    to.pointee.sendCell = relays.pointer(index)
    to.pointee.state.insert(.relaySink)
    statistics.operationsInFlight += 1
    // The first run comes with the next turn.
    armRelay(index, .turn)
  }

  /// A relay has an entry in flight at all times: a poll, or nothing at all for its next turn.
  private mutating func armRelay(_ index: UInt32, _ side: RelayWait) {
    let relay = relays.relays + Int(index)
    relay.pointee.waiting = side
    let entry = self.entry()
    entry.pointee.user_data = Self.userData(.relay, 0, index)
    switch side {
    case .source: fillPoll(entry, relay.pointee.source, CLINUX_EPOLLIN)
    case .sink: fillPoll(entry, relay.pointee.sink, CLINUX_EPOLLOUT)
    case .turn, .none: entry.pointee.opcode = UInt8(CLINUX_OP_NOP)
    }
  }

  public mutating func stopRelay(from source: Descriptor) {
    let record = sockets[source.rawValue]
    guard record.pointee.state.contains(.relaySource) else { return }
    let index = UInt32(record.pointee.receiveToken.rawValue)
    let relay = relays.relays + Int(index)
    guard !relay.pointee.cancelled else { return }
    relay.pointee.cancelled = true
    if relay.pointee.waiting != .turn { cancel(Self.userData(.relay, 0, index)) }
  }

  public mutating func finishRelay(from source: Descriptor) {
    let record = sockets[source.rawValue]
    guard record.pointee.state.contains(.relaySource) else { return }
    let index = UInt32(record.pointee.receiveToken.rawValue)
    let relay = relays.relays + Int(index)
    guard !relay.pointee.finishing, !relay.pointee.cancelled else { return }
    relay.pointee.finishing = true
    // What waits for its source has nothing left to write: the end of the poll is its own.
    if relay.pointee.waiting == .source { cancel(Self.userData(.relay, 0, index)) }
  }

  mutating func relayReady(_ index: UInt32, _ result: Int32) {
    let relay = relays.relays + Int(index)
    guard relay.pointee.inUse else {
      return engineBug("a relay went on that nobody has in flight")
    }
    if relay.pointee.cancelled { return endRelay(index, -ECANCELED) }
    if result < 0 && !relay.pointee.finishing {
      return endRelay(index, result, atSink: relay.pointee.waiting == .sink)
    }
    switch relays.run(index, &statistics) {
    case .ended(let result): endRelay(index, result)
    case .sinkFailed(let result): endRelay(index, result, atSink: true)
    case .waits(let side):
      reportRelay(relay)
      armRelay(index, side)
    }
  }

  private mutating func reportRelay(_ relay: UnsafeMutablePointer<Relay>) {
    if let progress = RelaySlab.takeProgress(relay) { queue.append(progress) }
  }

  private mutating func endRelay(_ index: UInt32, _ result: Int32, atSink: Bool = false) {
    let relay = relays.relays + Int(index)
    let from = sockets[relay.pointee.source]
    let to = sockets[relay.pointee.sink]
    from.pointee.state.remove(.relaySource)
    to.pointee.state.remove(.relaySink)
    to.pointee.sendCell = nil
    statistics.operationsInFlight -= 1
    var result = result
    // As after a send that failed, and as a receive behind one.
    if atSink && Sockets.tookError(result) { to.pointee.state.insert(.errorTaken) }
    if result == 0 && relay.pointee.sourceEnded && from.pointee.state.contains(.errorTaken) {
      result = -ECONNRESET
    }
    if result < 0 { reportRelay(relay) }
    queue.append(RelaySlab.last(relay, result, atSink: atSink))
    relays.release(index)
  }
}
