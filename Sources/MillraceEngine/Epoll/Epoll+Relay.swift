// Splices and relays: tried at once, and again at each edge of either side.
//
// TRAP: (file) the caller's order of calls and its own descriptors; two numbers have an address.

import CLinux
import Glibc

extension Epoll {
  // MARK: Splice

  public mutating func pipe(
    capacity: Int
  ) throws(SystemFailure) -> (output: Descriptor, input: Descriptor) {
    var ends: (Int32, Int32) = (-1, -1)
    let code = withUnsafeMutableBytes(of: &ends) {
      clinux_pipe2($0.assumingMemoryBound(to: Int32.self).baseAddress!, O_CLOEXEC | O_NONBLOCK)
    }
    guard code == 0 else { throw SystemFailure(code: errno, operation: "pipe2") }
    _ = clinux_set_pipe_size(ends.1, Int32(clamping: capacity))
    do throws(SystemFailure) {
      try adopt(ends.0, interest: CLINUX_EPOLLIN | CLINUX_EPOLLET)
    } catch {
      Glibc.close(ends.1)
      throw error
    }
    do throws(SystemFailure) {
      try adopt(ends.1, interest: CLINUX_EPOLLOUT | CLINUX_EPOLLET)
    } catch {
      self.close(Descriptor(rawValue: ends.0))
      throw error
    }
    return (Descriptor(rawValue: ends.0), Descriptor(rawValue: ends.1))
  }

  public mutating func splice(
    from input: Descriptor, to output: Descriptor, count: Int, _ token: Token
  ) {
    precondition(!chains.isOpen, "a splice cannot be a step of a chain")
    RelaySlab.ignoreBrokenPipes()
    submit(.splice, token) {
      $0.pointee.descriptor = input.rawValue
      $0.pointee.second = output.rawValue
      $0.pointee.count = count
    }
  }

  /// Whether a descriptor has edges. One without is a file: never waited for, and slow.
  private func isPolled(_ descriptor: Int32) -> Bool {
    if Int(descriptor) >= sockets.limit && descriptor < Descriptor.directBit { return false }
    let state = sockets[descriptor].pointee.state
    return state.contains(.open) && !state.contains(.file)
  }

  mutating func trySplice(_ index: UInt32) {
    let slot = control.slots + Int(index)
    // Asked here and not at submission: a step of a chain may name what an earlier one opens.
    guard isPolled(slot.pointee.descriptor) && isPolled(slot.pointee.second) else {
      return spliceOnThread(index)
    }
    statistics.systemCalls += 1
    let moved = clinux_splice(
      target(slot.pointee.descriptor), target(slot.pointee.second), slot.pointee.count,
      UInt32(CLINUX_SPLICE_MOVE | CLINUX_SPLICE_NONBLOCK))
    guard moved == -EAGAIN || moved == -EINTR else {
      return endSplice(index, Int32(clamping: moved))
    }
    park(index)
  }

  /// Has a splice tried again at the next edge of either side that has edges. Its end leaves the
  /// marks: the next edge finds out whether anything still waits.
  private mutating func park(_ index: UInt32) {
    let slot = control.slots + Int(index)
    mark(slot.pointee.descriptor)
    mark(slot.pointee.second)
    waitingSplices.append(index)
  }

  private func mark(_ side: Int32) {
    if isPolled(side) { sockets[side].pointee.state.insert(.splicing) }
  }

  mutating func endSplice(_ index: UInt32, _ result: Int32) {
    endControl(index, result)
  }

  /// A splice that has a file on one side, which only a thread can wait for.
  private mutating func spliceOnThread(_ index: UInt32) {
    let slot = control.slots + Int(index)
    slot.pointee.realInput = target(slot.pointee.descriptor)
    slot.pointee.realOutput = target(slot.pointee.second)
    slot.pointee.onThread = true
    threads.submit(index | FileThreads.controlBit)
  }

  /// A thread is done with a splice. Pipes of ours do not wait: for an empty or a full one it is
  /// the loop that waits, so that no thread is kept.
  mutating func spliceReturned(_ index: UInt32) {
    let slot = control.slots + Int(index)
    slot.pointee.onThread = false
    guard slot.pointee.result == -EAGAIN else { return endSplice(index, slot.pointee.result) }
    let pipeIsInput = isPolled(slot.pointee.descriptor)
    guard pipeIsInput || isPolled(slot.pointee.second) else { return endSplice(index, -EAGAIN) }
    // The edge may have come while the thread was returning.
    var ready = pollfd(
      fd: pipeIsInput ? slot.pointee.realInput : slot.pointee.realOutput,
      events: Int16(pipeIsInput ? POLLIN : POLLOUT), revents: 0)
    statistics.systemCalls += 1
    if Glibc.poll(&ready, 1, 0) > 0 { spliceOnThread(index) } else { park(index) }
  }

  /// Ends a splice, unless a thread is at it: that one runs to its end.
  mutating func cancelSplice(_ index: UInt32) {
    if control.slots[Int(index)].onThread {
      guard threads.withdraw(index | FileThreads.controlBit) else { return }
    } else {
      waitingSplices.removeAll { $0 == index }
    }
    endSplice(index, -ECANCELED)
  }

  private mutating func retrySplices(_ descriptor: Int32) {
    var at = 0
    var isWanted = false
    while at < waitingSplices.count {
      let index = waitingSplices[at]
      let slot = control.slots + Int(index)
      guard slot.pointee.descriptor == descriptor || slot.pointee.second == descriptor else {
        at += 1
        continue
      }
      waitingSplices.remove(at: at)
      let before = waitingSplices.count
      trySplice(index)
      if waitingSplices.count > before {
        // It waits again, at the end of the list: those before it are still to be tried.
        isWanted = true
        waitingSplices.swapAt(at, waitingSplices.count - 1)
        at += 1
      }
    }
    if !isWanted { sockets[descriptor].pointee.state.remove(.splicing) }
  }

  // MARK: Relay

  public mutating func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod,
    _ token: Token
  ) {
    precondition(!chains.isOpen, "a relay cannot be a step of a chain")
    precondition(count >= 0)
    precondition(!source.isDirect && !sink.isDirect, "a relay of a direct descriptor")
    let from = sockets[source.rawValue]
    let to = sockets[sink.rawValue]
    precondition(
      from.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "a relay from a socket that is being read")
    precondition(to.pointee.sendCell == nil, "a relay to a socket that is being written")
    let (index, code) = relays.take(count, method, token)
    guard code == 0 else { return later.append(Completion(token: token, result: code)) }
    RelaySlab.ignoreBrokenPipes()
    let relay = relays.relays + Int(index)
    relay.pointee.source = source.rawValue
    relay.pointee.sink = sink.rawValue
    relay.pointee.sourceDescriptor = target(source.rawValue)
    relay.pointee.sinkDescriptor = target(sink.rawValue)
    from.pointee.receiveToken = Token(rawValue: UInt64(index))
    from.pointee.state.insert(.relaySource)
    to.pointee.sendCell = relays.pointer(index)
    to.pointee.state.insert(.relaySink)
    statistics.operationsInFlight += 1
    // The first run comes with the next turn.
    relay.pointee.waiting = .turn
    enqueue(source.rawValue)
  }

  public mutating func stopRelay(from source: Descriptor) {
    let record = sockets[source.rawValue]
    guard record.pointee.state.contains(.relaySource) else { return }
    endRelay(UInt32(record.pointee.receiveToken.rawValue), -ECANCELED)
  }

  public mutating func finishRelay(from source: Descriptor) {
    let record = sockets[source.rawValue]
    guard record.pointee.state.contains(.relaySource) else { return }
    let index = UInt32(record.pointee.receiveToken.rawValue)
    relays.relays[Int(index)].finishing = true
    // What waits for its source has nothing left to write.
    if relays.relays[Int(index)].waiting == .source { endRelay(index, -ECANCELED) }
  }

  mutating func continueRelay(_ record: UnsafeMutablePointer<SocketRecord>) {
    let index = UInt32(record.pointee.receiveToken.rawValue)
    let relay = relays.relays + Int(index)
    switch relays.run(index, &statistics) {
    case .ended(let result): endRelay(index, result)
    case .sinkFailed(let result): endRelay(index, result, atSink: true)
    case .waits(let side):
      relay.pointee.waiting = side
      reportRelay(relay)
      if side == .turn { enqueue(relay.pointee.source) }
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
    // What came since the last run is for whoever reads next.
    from.pointee.state.insert(.readable)
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

  /// An edge of a descriptor that a relay or a splice may wait for.
  @inline(never)
  mutating func edgeForRelays(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    // An edge of the other side is no news: each run tries both.
    if record.pointee.state.contains(.relaySource) {
      let relay = relays.relays + Int(record.pointee.receiveToken.rawValue)
      if relay.pointee.waiting == .source { continueRelay(record) }
    }
    if record.pointee.state.contains(.relaySink), let cell = record.pointee.sendCell {
      let relay = cell.assumingMemoryBound(to: Relay.self)
      if relay.pointee.waiting == .sink { continueRelay(sockets[relay.pointee.source]) }
    }
    if record.pointee.state.contains(.splicing) { retrySplices(descriptor) }
  }
}
