// Sending: tried at once; what does not fit waits for the socket's edge, with its hot buffers
// copied out first when they are getting few.
//
// TRAP: (file) the caller keeps one in flight a socket and knows by its own flag; a peer cannot
// submit. Chains are the caller's order of calls.

import CLinux
import Glibc

extension Epoll {
  @inline(__always)
  public mutating func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token
  ) {
    frame.state.pointee.token = token
    frame.state.pointee.descriptor = socket.rawValue
    submit(frame.surrender(), socket)
  }

  /// Copies: MSG_ZEROCOPY of send(2) tells through the error queue when memory is free, and an
  /// epoll instance reports that queue as an error of the socket. The frame counts as in use until
  /// the completion that says that it is not, as where the kernel holds it.
  public mutating func sendZeroCopy(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token
  ) {
    precondition(!chains.isOpen, "a send without copying cannot be a step of a chain")
    frame.state.pointee.token = token
    frame.state.pointee.descriptor = socket.rawValue
    frame.state.pointee.mode = .zeroCopy
    frame.state.pointee.wasCopied = true
    submit(frame.surrender(), socket)
  }

  @inline(__always)
  private mutating func submit(_ cell: UnsafeMutableRawPointer, _ socket: Descriptor) {
    statistics.operationsInFlight += 1
    if chains.isOpen { return addToChain(cell, socket) }
    let record = sockets[socket.rawValue]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    record.pointee.sendCell = cell
    continueSend(record)
  }

  @inline(never)
  private mutating func addToChain(_ cell: UnsafeMutableRawPointer, _ socket: Descriptor) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    evacuateIfLow(cell)
    state.pointee.chain = chains.append(
      ChainStep(
        kind: .send, index: 0, cell: cell, descriptor: socket.rawValue,
        token: state.pointee.token))
  }

  /// Starts the send of a chain.
  mutating func startSend(_ step: ChainStep) {
    let record = sockets[step.descriptor]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    record.pointee.sendCell = step.cell
    continueSend(record)
  }

  mutating func continueSend(_ record: UnsafeMutablePointer<SocketRecord>) {
    guard let cell = record.pointee.sendCell else { return }
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let vectors = (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self)
    let flags = Int32(MSG_NOSIGNAL)
    while true {
      let first = Int(state.pointee.segmentsSent)
      let count = Int(state.pointee.segmentCount) - first
      statistics.systemCalls += 1
      let result: Int
      if count == 1 {
        result = clinux_send(
          target(state.pointee.descriptor), vectors[first].iov_base, vectors[first].iov_len, flags)
      } else {
        var message = msghdr()
        message.msg_iov = vectors + first
        message.msg_iovlen = count
        result = clinux_send_message(target(state.pointee.descriptor), &message, flags)
      }
      if result >= 0 {
        if advanceFrame(cell, by: result) { return endSend(record, nil) }
        statistics.sendsShort += 1
        // A short send has filled the socket: try once more only after the edge.
      } else if result == -Int(EINTR) {
        continue
      } else if result != -Int(EAGAIN) {
        return endSend(record, Int32(result))
      }
      return park(record, cell)
    }
  }

  private mutating func park(
    _ record: UnsafeMutablePointer<SocketRecord>, _ cell: UnsafeMutableRawPointer
  ) {
    record.pointee.state.insert(.sendParked)
    evacuateIfLow(cell)
  }

  /// Copies the hot buffers of a send that has to wait, when few are left.
  private mutating func evacuateIfLow(_ cell: UnsafeMutableRawPointer) {
    guard isLowOnBuffers else { return }
    statistics.framesEvacuated += 1
    SendFrame.evacuate(cell)
  }

  @inline(__always)
  mutating func endSend(
    _ record: UnsafeMutablePointer<SocketRecord>, _ failure: Int32?
  ) {
    guard let cell = record.pointee.sendCell else { return }
    let state = cell.assumingMemoryBound(to: FrameState.self)
    record.pointee.sendCell = nil
    record.pointee.state.remove(.sendParked)
    statistics.operationsInFlight -= 1
    if let failure, Sockets.tookError(failure) { record.pointee.state.insert(.errorTaken) }
    if state.pointee.mode == .zeroCopy && failure == nil { return hold(cell) }
    let result = failure ?? Int32(clamping: state.pointee.total)
    queue.append(Completion(token: state.pointee.token, result: result))
    let chain = state.pointee.chain
    SendFrame.recycle(cell)
    if chain >= 0 { stepEnded(chain, succeeded: failure == nil) }
  }

  /// Reports the result of a send that was asked not to copy, and keeps its frame for one turn.
  @inline(never)
  private mutating func hold(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    statistics.operationsInFlight += 1
    queue.append(
      Completion(
        token: state.pointee.token, result: Int32(clamping: state.pointee.total), more: true))
    if let last = heldLast {
      last.assumingMemoryBound(to: FrameState.self).pointee.next = cell
    } else {
      heldFirst = cell
    }
    heldLast = cell
  }

  /// Ends the sends of the turn before that were asked not to copy, in their order.
  @inline(never)
  mutating func releaseHeld() {
    var cell = heldFirst
    heldFirst = nil
    heldLast = nil
    while let one = cell {
      let state = one.assumingMemoryBound(to: FrameState.self)
      cell = state.pointee.next
      statistics.operationsInFlight -= 1
      queue.append(Completion(token: state.pointee.token, result: 1))
      SendFrame.recycle(one)
    }
  }

  public func sendProgress(_ socket: Descriptor) -> Int {
    let record = sockets[socket.rawValue]
    guard let cell = record.pointee.sendCell, !socket.isDirect else { return 0 }
    if record.pointee.state.contains(.relaySink) {
      return relays.relays[Int(relays.index(cell))].written
        - Sockets.unacknowledged(socket.rawValue)
    }
    return cell.assumingMemoryBound(to: FrameState.self).pointee.sent
      - Sockets.unacknowledged(socket.rawValue)
  }

  /// Nothing to do: here every send is tried at once.
  public mutating func expediteSends() {}
}
