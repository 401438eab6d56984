// Sending: tried at once; what does not fit waits for the socket's edge, with its hot buffers
// copied out first when they are getting few.

import CLinux
import Glibc

extension Epoll {
  @inline(__always)
  public mutating func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token
  ) {
    let record = sockets[socket.rawValue]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    frame.state.pointee.token = token
    frame.state.pointee.descriptor = socket.rawValue
    record.pointee.sendCell = frame.surrender()
    statistics.operationsInFlight += 1
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
        result = Glibc.send(
          state.pointee.descriptor, vectors[first].iov_base, vectors[first].iov_len, flags)
      } else {
        var message = msghdr()
        message.msg_iov = vectors + first
        message.msg_iovlen = count
        result = sendmsg(state.pointee.descriptor, &message, flags)
      }
      if result >= 0 {
        if advanceFrame(cell, by: result) { return endSend(record, nil) }
        statistics.sendsShort += 1
        // A short send has filled the socket: try once more only after the edge.
      } else if errno == EINTR {
        continue
      } else if errno != EAGAIN {
        return endSend(record, -errno)
      }
      return park(record, cell)
    }
  }

  private mutating func park(
    _ record: UnsafeMutablePointer<SocketRecord>, _ cell: UnsafeMutableRawPointer
  ) {
    record.pointee.state.insert(.sendParked)
    if isLowOnBuffers {
      statistics.framesEvacuated += 1
      SendFrame.evacuate(cell)
    }
  }

  @inline(__always)
  private mutating func endSend(
    _ record: UnsafeMutablePointer<SocketRecord>, _ failure: Int32?
  ) {
    guard let cell = record.pointee.sendCell else { return }
    let state = cell.assumingMemoryBound(to: FrameState.self)
    record.pointee.sendCell = nil
    record.pointee.state.remove(.sendParked)
    statistics.operationsInFlight -= 1
    if let failure, failure != -EPIPE { record.pointee.state.insert(.errorTaken) }
    let result = failure ?? Int32(clamping: state.pointee.total)
    queue.append(Completion(token: state.pointee.token, result: result))
    SendFrame.recycle(cell)
  }

  public func sendProgress(_ socket: Descriptor) -> Int {
    guard let cell = sockets[socket.rawValue].pointee.sendCell else { return 0 }
    return cell.assumingMemoryBound(to: FrameState.self).pointee.sent
      - Sockets.unacknowledged(socket.rawValue)
  }

  /// Nothing to do: here every send is tried at once.
  public mutating func expediteSends() {}
}
