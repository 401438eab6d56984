// Datagrams: received as the other engine's kernel lays them out, sent at once, and in order of
// submission once one had to wait.

import CLinux
import Glibc

extension Epoll {
  /// Datagrams of one socket in a row before others get their turn.
  private static let datagramsInRow = 16

  public mutating func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool
  ) throws(SystemFailure) -> Descriptor {
    let socket = try Sockets.bindDatagrams(
      address, reusePort: reusePort, coalesce: coalesce, nonblocking: true)
    try adopt(socket, interest: Self.streamInterest)
    sockets[socket].pointee.state.insert(.datagrams)
    return Descriptor(rawValue: socket)
  }

  public mutating func receiveDatagrams(_ socket: Descriptor, _ token: Token) {
    precondition(!chains.isOpen, "a receive of datagrams cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(
      record.pointee.state.isDisjoint(with: .receiving), "two receives on one socket")
    record.pointee.receiveToken = token
    record.pointee.state.insert(.receivingDatagrams)
    statistics.operationsInFlight += 1
    if record.pointee.state.contains(.readable) { enqueue(socket.rawValue) }
  }

  mutating func readDatagrams(_ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>) {
    for _ in 0..<Self.datagramsInRow {
      guard let index = large.takeFree() else { return starve(socket, record) }
      statistics.systemCalls += 1
      let base = large.address(of: index)
      let got = receiveOne(socket, base, large.state.pointee.bufferSize)
      guard got >= 0 else {
        large.putBack(index)
        return readFailed(record, Int32(got), socket)
      }
      var report = Completion(
        token: record.pointee.receiveToken, result: Int32(got), more: true,
        buffer: large.report(index))
      report.flags |= Completion.largeFlag | Completion.datagramFlag
      queue.append(report)
    }
    enqueue(socket)
  }

  /// recvmsg(2) into the layout of `DatagramLayout`. - Returns: bytes, or a negated errno.
  private func receiveOne(
    _ socket: Int32, _ base: UnsafeMutableRawPointer, _ size: Int
  ) -> Int {
    var vector = iovec(
      iov_base: base + DatagramLayout.contentOffset,
      iov_len: size - DatagramLayout.contentOffset)
    return withUnsafeMutablePointer(to: &vector) { vector in
      var message = msghdr()
      message.msg_name = base + DatagramLayout.nameOffset
      message.msg_namelen = socklen_t(DatagramLayout.nameBytes)
      message.msg_control = base + DatagramLayout.controlOffset
      message.msg_controllen = DatagramLayout.controlBytes
      message.msg_iov = vector
      message.msg_iovlen = 1
      let got = recvmsg(target(socket), &message, 0)
      guard got >= 0 else { return -Int(errno) }
      base.storeBytes(
        of: clinux_recvmsg_out(
          namelen: message.msg_namelen, controllen: UInt32(message.msg_controllen),
          payloadlen: UInt32(got), flags: UInt32(bitPattern: message.msg_flags)),
        as: clinux_recvmsg_out.self)
      return got
    }
  }

  public mutating func takeDatagram(_ completion: Completion) -> Datagram {
    precondition(completion.hasDatagram, "a completion without a datagram was redeemed")
    return DatagramLayout.datagram(large.redeemWhole(completion))
  }

  public mutating func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress,
    segmentSize: Int, _ token: Token
  ) {
    precondition(!chains.isOpen, "a datagram cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(record.pointee.state.contains(.datagrams), "a datagram on a stream socket")
    let state = frame.state
    state.pointee.token = token
    state.pointee.descriptor = socket.rawValue
    state.pointee.mode = .datagram
    let cell = frame.surrender()
    statistics.operationsInFlight += 1
    let flaw = DatagramLayout.flaw(of: cell, segmentSize: segmentSize)
    if flaw != 0 { return endDatagram(cell, flaw) }
    DatagramLayout.address(cell, to: address, segmentSize: segmentSize)
    guard record.pointee.sendCell == nil else { return append(cell, to: record) }
    if !sendNow(cell) {
      record.pointee.sendCell = cell
      record.pointee.state.insert(.sendParked)
    }
  }

  private func append(
    _ cell: UnsafeMutableRawPointer, to record: UnsafeMutablePointer<SocketRecord>
  ) {
    var last = record.pointee.sendCell!
    while let next = last.assumingMemoryBound(to: FrameState.self).pointee.next { last = next }
    last.assumingMemoryBound(to: FrameState.self).pointee.next = cell
  }

  /// - Returns: false if the socket has no room.
  private mutating func sendNow(_ cell: UnsafeMutableRawPointer) -> Bool {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let message = (cell + FrameLayout.messageOffset).assumingMemoryBound(to: msghdr.self)
    while true {
      statistics.systemCalls += 1
      let result = sendmsg(target(state.pointee.descriptor), message, Int32(MSG_NOSIGNAL))
      if result >= 0 {
        endDatagram(cell, Int32(clamping: result))
        return true
      }
      if errno == EINTR { continue }
      if errno == EAGAIN { return false }
      endDatagram(cell, -errno)
      return true
    }
  }

  private mutating func endDatagram(_ cell: UnsafeMutableRawPointer, _ result: Int32) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: state.pointee.token, result: result))
    SendFrame.recycle(cell)
  }

  /// The socket has room: those that waited go on, in order.
  mutating func continueDatagrams(_ record: UnsafeMutablePointer<SocketRecord>) {
    while let cell = record.pointee.sendCell {
      let next = cell.assumingMemoryBound(to: FrameState.self).pointee.next
      guard sendNow(cell) else { return }
      record.pointee.sendCell = next
    }
    record.pointee.state.remove(.sendParked)
  }

  mutating func cancelDatagrams(
    _ record: UnsafeMutablePointer<SocketRecord>, where matches: (Token) -> Bool
  ) {
    var kept: UnsafeMutableRawPointer?
    var last: UnsafeMutableRawPointer?
    var cell = record.pointee.sendCell
    while let one = cell {
      let state = one.assumingMemoryBound(to: FrameState.self)
      cell = state.pointee.next
      if matches(state.pointee.token) {
        endDatagram(one, -ECANCELED)
        continue
      }
      state.pointee.next = nil
      if let last {
        last.assumingMemoryBound(to: FrameState.self).pointee.next = one
      } else {
        kept = one
      }
      last = one
    }
    record.pointee.sendCell = kept
    if kept == nil { record.pointee.state.remove(.sendParked) }
  }
}
