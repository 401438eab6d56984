// Sends beyond the plain one: without copying, as steps of chains, and the list of those that are in
// flight on one socket together.
//
// TRAP: (file) the caller keeps one in flight a socket and knows by its own flag; a peer cannot
// submit. The chain's steps are the caller's order.

import CLinux
import Glibc

extension Uring {
  // MARK: Without copying

  public mutating func sendZeroCopy(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token
  ) {
    precondition(!chainIsOpen, "a send without copying cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    let state = frame.state
    state.pointee.token = token
    state.pointee.descriptor = socket.rawValue
    state.pointee.mode = .zeroCopy
    // UNIX sockets have nothing to refer to (EOPNOTSUPP); small frames are cheaper to copy; and when
    // buffers are few, none may wait for a peer's acknowledgement.
    state.pointee.wasCopied =
      frame.count < zeroCopyThreshold || record.pointee.state.contains(.local)
      || (isLowOnBuffers && frame.holdsHotBuffers)
    let cell = frame.surrender()
    record.pointee.sendCell = cell
    statistics.operationsInFlight += 1
    submitZeroCopy(cell)
  }

  private mutating func submitZeroCopy(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    if state.pointee.wasCopied {
      return submitSend(cell, flags: Self.tryFlags, quiet: false)
    }
    let message = (cell + FrameLayout.messageOffset).assumingMemoryBound(to: msghdr.self)
    let first = Int(state.pointee.segmentsSent)
    message.pointee.msg_iov =
      (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self) + first
    message.pointee.msg_iovlen = Int(state.pointee.segmentCount) - first
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_SENDMSG_ZC)
    entry.pointee.ioprio = UInt16(CLINUX_SEND_ZC_REPORT_USAGE)
    aim(entry, at: state.pointee.descriptor)
    // SAFETY: the cell does not move and outlives the operation.
    entry.pointee.addr = UInt64(UInt(bitPattern: message))
    entry.pointee.len = 1
    entry.pointee.op_flags = UInt32(MSG_NOSIGNAL | MSG_WAITALL)
    entry.pointee.user_data = Self.userData(.send, 0, state.pointee.index)
  }

  /// Each entry without copying has one completion for its result, and, if that says so, one more
  /// when the kernel refers to the memory no longer.
  @inline(never)
  mutating func sentWithoutCopying(
    _ cell: UnsafeMutableRawPointer, _ completion: clinux_cqe
  ) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let result = completion.res
    let wasCopied = state.pointee.wasCopied
    if completion.flags & UInt32(CLINUX_CQE_F_NOTIF) != 0 {
      state.pointee.notices -= 1
      if UInt32(bitPattern: result) & CLINUX_NOTIF_ZC_COPIED != 0 {
        state.pointee.wasCopied = true
      }
      return settle(cell)
    }
    if completion.flags & UInt32(CLINUX_CQE_F_MORE) != 0 { state.pointee.notices += 1 }
    if result >= 0 {
      if advanceFrame(cell, by: Int(result)) { return hasLeft(cell) }
      if result == 0 { return fail(cell, -EPIPE) }
      statistics.sendsShort += 1
    } else if result == -EOPNOTSUPP || result == -ENOMEM {
      // ENOMEM: what the kernel refers to counts against RLIMIT_MEMLOCK.
      if wasCopied { return fail(cell, result) }
      state.pointee.wasCopied = true
    } else if result != -EAGAIN && result != -EINTR {
      return fail(cell, result)
    }
    if state.pointee.cancelled { return fail(cell, -ECANCELED) }
    // What was tried as a copy waits as any send does, unless the kernel still refers to its memory.
    if wasCopied && state.pointee.notices == 0 { return waitForRoom(cell) }
    if wasCopied { return submitSend(cell, flags: UInt32(MSG_NOSIGNAL), quiet: false) }
    submitZeroCopy(cell)
  }

  /// The first completion: the socket is free for the next send.
  private mutating func hasLeft(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    sockets[state.pointee.descriptor].pointee.sendCell = nil
    queue.append(
      Completion(
        token: state.pointee.token, result: Int32(clamping: state.pointee.total), more: true))
    settle(cell)
  }

  private mutating func fail(_ cell: UnsafeMutableRawPointer, _ failure: Int32) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    state.pointee.failure = failure
    let record = sockets[state.pointee.descriptor]
    if Sockets.tookError(failure) { record.pointee.state.insert(.errorTaken) }
    settle(cell)
  }

  /// The terminal completion, when the send has ended and the kernel refers to nothing of it.
  private mutating func settle(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let hasFailed = state.pointee.failure != 0
    guard state.pointee.notices == 0, hasFailed || state.pointee.sent == state.pointee.total
    else { return }
    if hasFailed { sockets[state.pointee.descriptor].pointee.sendCell = nil }
    statistics.operationsInFlight -= 1
    let result = hasFailed ? state.pointee.failure : state.pointee.wasCopied ? 1 : 0
    queue.append(Completion(token: state.pointee.token, result: result))
    SendFrame.recycle(cell)
  }

  // MARK: As a step of a chain

  /// The kernel waits for room itself (MSG_WAITALL without MSG_DONTWAIT), so that the next step
  /// follows the last byte.
  @inline(never)
  mutating func sendStep(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    statistics.operationsInFlight += 1
    // It waits for its turn, and then in the kernel for room.
    evacuateIfLow(cell)
    guard linking.isOpen else {
      state.pointee.chain = chains.append(
        ChainStep(
          kind: .send, index: 0, cell: cell, descriptor: state.pointee.descriptor,
          token: state.pointee.token))
      return
    }
    let record = sockets[state.pointee.descriptor]
    let first = record.pointee.sendCell?.assumingMemoryBound(to: FrameState.self)
    precondition(
      record.pointee.state.isDisjoint(with: .relaySink)
        && (first == nil || first!.pointee.chain == Self.linked),
      "two sends on one socket")
    state.pointee.chain = Self.linked
    enlist(cell, record)
    submitSend(cell, flags: UInt32(MSG_NOSIGNAL | MSG_WAITALL), quiet: false)
  }

  mutating func startSend(_ step: ChainStep) {
    let record = sockets[step.descriptor]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    record.pointee.sendCell = step.cell
    submitSend(step.cell!, flags: Self.tryFlags, quiet: false)
  }

  /// Why a send in a chain stopped short. The kernel reports the bytes and has used the cause up: a
  /// socket whose other direction is gone as well was reset, another was shut down.
  func brokenSend(_ cell: UnsafeMutableRawPointer) -> Int32 {
    let descriptor = cell.assumingMemoryBound(to: FrameState.self).pointee.descriptor
    guard let number = systemDescriptor(descriptor) else { return -EPIPE }
    var ask = pollfd(fd: number, events: 0, revents: 0)
    let isGone =
      Glibc.poll(&ask, 1, 0) == 1 && UInt32(ask.revents) & (CLINUX_EPOLLHUP | CLINUX_EPOLLERR) != 0
    return isGone ? -ECONNRESET : -EPIPE
  }

  // MARK: Several in flight

  func enlist(
    _ cell: UnsafeMutableRawPointer, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    state.pointee.next = record.pointee.sendCell
    if let first = record.pointee.sendCell {
      first.assumingMemoryBound(to: FrameState.self).pointee.previous = cell
    }
    record.pointee.sendCell = cell
  }

  func delist(
    _ cell: UnsafeMutableRawPointer, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let (next, previous) = (state.pointee.next, state.pointee.previous)
    if let next { next.assumingMemoryBound(to: FrameState.self).pointee.previous = previous }
    if let previous {
      previous.assumingMemoryBound(to: FrameState.self).pointee.next = next
    } else {
      record.pointee.sendCell = next
    }
  }
}
