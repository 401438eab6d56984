// Sending: one frame in flight per socket. The first try never waits (MSG_DONTWAIT inside the
// enter), so that when the enter returns, each send of it has either succeeded in silence or
// posted why not. What did not fit waits for room with cold memory, if hot buffers are few.
//
// TRAP: (file) the caller keeps one in flight a socket and knows by its own flag; a peer cannot
// submit.

import CLinux
import Glibc

extension Uring {
  /// MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL: no SIGPIPE; EAGAIN rather than wait; and a short
  /// send counts as a failure, which is what makes the kernel post its completion (5.19).
  static let tryFlags = UInt32(
    MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL)

  @inline(__always)
  public mutating func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token
  ) {
    let state = frame.state
    state.pointee.token = token
    state.pointee.descriptor = socket.rawValue
    let cell = frame.surrender()
    if chainIsOpen { return sendStep(cell) }
    let record = sockets[socket.rawValue]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    record.pointee.sendCell = cell
    statistics.operationsInFlight += 1
    if urgency == .quiet && quietCount < quietLimit {
      state.pointee.quietIndex = Int32(quietCount)
      quiet[quietCount] = cell
      quietCount += 1
    }
    submitSend(cell, flags: Self.tryFlags, quiet: state.pointee.quietIndex >= 0)
  }

  @inline(__always)
  mutating func submitSend(
    _ cell: UnsafeMutableRawPointer, flags: UInt32, quiet: Bool
  ) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let vectors = (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self)
    let first = Int(state.pointee.segmentsSent)
    let count = Int(state.pointee.segmentCount) - first
    let entry = stepEntry()
    aim(entry, at: state.pointee.descriptor)
    entry.pointee.op_flags = flags
    if quiet { entry.pointee.flags |= UInt8(CLINUX_SQE_CQE_SKIP_SUCCESS) }
    entry.pointee.user_data = Self.userData(.send, 0, state.pointee.index)
    if count == 1 {
      entry.pointee.opcode = UInt8(CLINUX_OP_SEND)
      entry.pointee.addr = UInt64(UInt(bitPattern: vectors[first].iov_base))
      entry.pointee.len = UInt32(truncatingIfNeeded: vectors[first].iov_len)
    } else {
      let message = (cell + FrameLayout.messageOffset).assumingMemoryBound(to: msghdr.self)
      message.pointee.msg_iov = vectors + first
      message.pointee.msg_iovlen = count
      entry.pointee.opcode = UInt8(CLINUX_OP_SENDMSG)
      // SAFETY: the cell does not move and outlives the operation.
      entry.pointee.addr = UInt64(UInt(bitPattern: message))
      entry.pointee.len = 1
    }
  }

  mutating func sent(_ index: UInt32, _ completion: clinux_cqe) {
    let cell = frames.cell(index)
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let result = completion.res
    switch state.pointee.mode {
    case .stream: break
    case .zeroCopy: return sentWithoutCopying(cell, completion)
    case .datagram: return sentDatagram(cell, result)
    }
    if state.pointee.quietIndex >= 0 {
      quiet[Int(state.pointee.quietIndex)] = nil
      state.pointee.quietIndex = -1
    }
    if result >= 0 {
      if advanceFrame(cell, by: Int(result)) { return endSend(cell, nil) }
      if result == 0 { return endSend(cell, -EPIPE) }
      statistics.sendsShort += 1
    } else if result != -EAGAIN && result != -EINTR {
      return endSend(cell, result)
    }
    if state.pointee.cancelled { return endSend(cell, -ECANCELED) }
    if state.pointee.chain == Self.linked { return endSend(cell, brokenSend(cell)) }
    waitForRoom(cell)
  }

  /// Has a send that was tried wait until there is room.
  mutating func waitForRoom(_ cell: UnsafeMutableRawPointer) {
    evacuateIfLow(cell)
    // No MSG_WAITALL from here on: each bit that leaves is progress that a timeout can see.
    submitSend(cell, flags: UInt32(MSG_NOSIGNAL), quiet: false)
  }

  /// Copies the hot buffers of a send that may have to wait, when few are left.
  mutating func evacuateIfLow(_ cell: UnsafeMutableRawPointer) {
    guard isLowOnBuffers else { return }
    statistics.framesEvacuated += 1
    SendFrame.evacuate(cell)
  }

  @inline(__always)
  mutating func endSend(_ cell: UnsafeMutableRawPointer, _ failure: Int32?) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let record = sockets[state.pointee.descriptor]
    let chain = state.pointee.chain
    if chain == -1 { record.pointee.sendCell = nil } else { delist(cell, record) }
    statistics.operationsInFlight -= 1
    if let failure, Sockets.tookError(failure) { record.pointee.state.insert(.errorTaken) }
    let result = failure ?? Int32(clamping: state.pointee.total)
    queue.append(Completion(token: state.pointee.token, result: result))
    SendFrame.recycle(cell)
    if chain >= 0 { stepEnded(chain, succeeded: failure == nil) }
  }

  /// Ends the sends of this turn that posted nothing: they have succeeded. Called only when the
  /// kernel has taken every entry.
  @inline(__always)
  mutating func finishQuietSends() {
    // Reported before what was received since, as the other engine does: an answer has left
    // before the next request is seen. Backwards, so that they keep their order.
    for i in stride(from: quietCount - 1, through: 0, by: -1) {
      guard let cell = quiet[i] else { continue }
      quiet[i] = nil
      let state = cell.assumingMemoryBound(to: FrameState.self)
      state.pointee.quietIndex = -1
      state.pointee.sent = state.pointee.total
      sockets[state.pointee.descriptor].pointee.sendCell = nil
      statistics.operationsInFlight -= 1
      queue.prepend(
        Completion(token: state.pointee.token, result: Int32(clamping: state.pointee.total)))
      SendFrame.recycle(cell)
    }
    quietCount = 0
  }

  public func sendProgress(_ socket: Descriptor) -> Int {
    let record = sockets[socket.rawValue]
    guard let cell = record.pointee.sendCell else { return 0 }
    // Of a slot of the kernel's nobody can ask what the peer has acknowledged.
    let waiting = systemDescriptor(socket.rawValue).map(Sockets.unacknowledged) ?? 0
    if record.pointee.state.contains(.relaySink) {
      return cell.assumingMemoryBound(to: Relay.self).pointee.written - waiting
    }
    return cell.assumingMemoryBound(to: FrameState.self).pointee.sent - waiting
  }

  public mutating func expediteSends() { if quietCount > 0 { expedited = true } }
}
