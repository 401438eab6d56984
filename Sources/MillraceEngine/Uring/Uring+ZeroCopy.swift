// Sends without copying: the kernel pins the frame's pages and says later that it is done with them.
// The frame is recycled only when each of its sends has had that word. What is too small, or what
// the socket refuses, is copied.

import CLinux
import Glibc

extension Uring {
  public mutating func sendZeroCopy(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token
  ) {
    precondition(!isMakingChain, "a send without copying cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    let state = frame.state
    state.pointee.token = token
    state.pointee.descriptor = socket.rawValue
    state.pointee.mode = .zeroCopy
    let cell = frame.surrender()
    record.pointee.sendCell = cell
    statistics.operationsInFlight += 1
    // UNIX sockets have no such thing (EOPNOTSUPP).
    state.pointee.wasCopied =
      state.pointee.total < zeroCopyThreshold || record.pointee.state.contains(.local)
    submitZeroCopy(cell)
  }

  private mutating func submitZeroCopy(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    if state.pointee.wasCopied && state.pointee.notices == 0 {
      return submitSend(cell, flags: Self.wholeFlags, quiet: false)
    }
    let first = Int(state.pointee.segmentsSent)
    let message = (cell + FrameLayout.messageOffset).assumingMemoryBound(to: msghdr.self)
    message.pointee.msg_iov =
      (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self) + first
    message.pointee.msg_iovlen = Int(state.pointee.segmentCount) - first
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_SENDMSG_ZC)
    entry.pointee.ioprio = UInt16(CLINUX_SEND_ZC_REPORT_USAGE)
    aim(entry, at: state.pointee.descriptor)
    entry.pointee.addr = UInt64(UInt(bitPattern: message))
    entry.pointee.len = 1
    entry.pointee.op_flags = Self.wholeFlags
    entry.pointee.user_data = Self.userData(.send, 0, state.pointee.index)
  }

  mutating func sentZeroCopy(_ cell: UnsafeMutableRawPointer, _ completion: clinux_cqe) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    if completion.flags & UInt32(CLINUX_CQE_F_NOTIF) != 0 {
      state.pointee.notices -= 1
      if UInt32(bitPattern: completion.res) & CLINUX_NOTIF_ZC_COPIED != 0 {
        state.pointee.wasCopied = true
      }
      return finishZeroCopy(cell)
    }
    // A notification can follow an error as well: the flag says so.
    if completion.flags & UInt32(CLINUX_CQE_F_MORE) != 0 { state.pointee.notices += 1 }
    let result = completion.res
    if result > 0, advanceFrame(cell, by: Int(result)) { return handedOver(cell, nil) }
    if state.pointee.cancelled { return handedOver(cell, -ECANCELED) }
    switch result {
    case -EOPNOTSUPP, -ENOMEM, -EINVAL:
      // Not for this socket, or more pages than RLIMIT_MEMLOCK allows to be pinned.
      guard !state.pointee.wasCopied else { return handedOver(cell, result) }
      state.pointee.wasCopied = true
    case 0: return handedOver(cell, -EPIPE)
    case 1...: statistics.sendsShort += 1
    case -EAGAIN, -EINTR: break
    default: return handedOver(cell, result)
    }
    submitZeroCopy(cell)
  }

  /// All bytes are with the socket, or none of the rest ever will be.
  private mutating func handedOver(_ cell: UnsafeMutableRawPointer, _ failure: Int32?) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let record = sockets[state.pointee.descriptor]
    record.pointee.sendCell = nil
    state.pointee.isSent = true
    state.pointee.failure = failure ?? 0
    if let failure {
      if failure != -EPIPE { record.pointee.state.insert(.errorTaken) }
    } else {
      queue.append(
        Completion(
          token: state.pointee.token, result: Int32(clamping: state.pointee.total), more: true))
    }
    finishZeroCopy(cell)
  }

  /// Ends the operation once nothing of the frame is with the kernel any more.
  private mutating func finishZeroCopy(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    guard state.pointee.isSent, state.pointee.notices == 0 else { return }
    statistics.operationsInFlight -= 1
    let failure = state.pointee.failure
    queue.append(
      Completion(
        token: state.pointee.token,
        result: failure < 0 ? failure : state.pointee.wasCopied ? 1 : 0))
    SendFrame.recycle(cell)
  }
}
