// Datagrams: one multishot recvmsg per socket, which draws from the large buffers and lays each arrival
// out as `DatagramLayout` says; and any number of sends in flight, in a list that hangs from the
// socket's record.
//
// TRAP: (file) the caller knows which sockets it opened for datagrams, keeps one receive in flight,
// and redeems a completion of this engine once.

import CLinux
import Glibc

extension Uring {
  /// Datagrams of one socket in a row before others get their turn, where the engine reads them.
  private static let datagramsInRow = 16

  public mutating func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool
  ) throws(SystemFailure) -> Descriptor {
    let socket = try Sockets.bindDatagrams(
      address, reusePort: reusePort, coalesce: coalesce, nonblocking: false)
    try adopt(socket, as: .datagrams)
    return Descriptor(rawValue: socket)
  }

  // MARK: Receiving

  public mutating func receiveDatagrams(_ socket: Descriptor, _ token: Token) {
    precondition(!chainIsOpen, "a receive of datagrams cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(
      record.pointee.state.isDisjoint(with: .receiving), "two receives on one socket")
    precondition(record.pointee.state.contains(.datagrams), "datagrams from a stream socket")
    record.pointee.receiveToken = token
    record.pointee.state.insert(.receivingDatagrams)
    statistics.operationsInFlight += 1
    receivesDatagrams = true
    _ = largeRing.refill(from: large)
    armDatagrams(socket.rawValue, record)
  }

  mutating func armDatagrams(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    let entry = self.entry()
    entry.pointee.user_data = receiveUserData(socket, record)
    guard use.contains(.multishotReceive) else {
      // A single recvmsg of the kernel has no such layout: it only tells when there is something.
      return fillPoll(entry, socket, CLINUX_EPOLLIN)
    }
    entry.pointee.opcode = UInt8(CLINUX_OP_RECVMSG)
    entry.pointee.flags = UInt8(CLINUX_SQE_BUFFER_SELECT)
    entry.pointee.ioprio = UInt16(CLINUX_RECV_MULTISHOT)
    entry.pointee.fd = socket
    // SAFETY: the header does not move, and nobody writes to it.
    entry.pointee.addr = UInt64(UInt(bitPattern: datagramHeader))
    entry.pointee.len = 1
    entry.pointee.buf_index = 1
  }

  mutating func receivedDatagram(
    _ socket: Int32, _ generation: UInt32, _ completion: clinux_cqe
  ) {
    let record = sockets[socket]
    guard record.pointee.generation == generation,
      record.pointee.state.contains(.receivingDatagrams)
    else { return engineBug("a receive completed that nobody has in flight") }
    guard use.contains(.multishotReceive) else {
      return completion.res < 0
        ? datagramsEnded(socket, record, completion.res) : readDatagrams(socket, record)
    }
    let more = completion.flags & UInt32(CLINUX_CQE_F_MORE) != 0
    guard completion.flags & UInt32(CLINUX_CQE_F_BUFFER) != 0 else {
      if !more { datagramsEnded(socket, record, completion.res) }
      return
    }
    let buffer = completion.flags >> UInt32(CLINUX_CQE_BUFFER_SHIFT)
    largeRing.taken()
    if Int(completion.res) < DatagramLayout.contentOffset {
      large.putBack(buffer)
      if !more { datagramsEnded(socket, record, completion.res) }
      return
    }
    report(record, buffer, Int(completion.res) - DatagramLayout.contentOffset)
    if !more { rearmDatagrams(socket, record) }
  }

  private mutating func report(
    _ record: UnsafeMutablePointer<SocketRecord>, _ buffer: UInt32, _ count: Int
  ) {
    var report = Completion(
      token: record.pointee.receiveToken, result: Int32(count), more: true,
      buffer: large.report(buffer, count))
    report.flags |= Completion.largeFlag | Completion.datagramFlag
    queue.append(report)
  }

  private mutating func rearmDatagrams(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    if record.pointee.state.contains(.stoppingReceive) {
      endReceive(record, -ECANCELED)
    } else {
      armDatagrams(socket, record)
    }
  }

  private mutating func datagramsEnded(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    if record.pointee.state.contains(.stoppingReceive) { return endReceive(record, -ECANCELED) }
    switch result {
    case -ENOBUFS: starve(socket, record)
    case -EINTR, -EAGAIN: armDatagrams(socket, record)
    default:
      // A datagram too short for its own header, or shutdown(2), which UDP has no end of stream for.
      if result >= 0 { return armDatagrams(socket, record) }
      endReceive(record, result)
    }
  }

  private mutating func starve(_ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>) {
    statistics.receivesStarved += 1
    record.pointee.state.insert(.starved)
    starvedLarge.append(socket, record)
  }

  /// Reads what is there by system calls.
  private mutating func readDatagrams(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    for _ in 0..<Self.datagramsInRow {
      guard let index = large.takeFree() else { return starve(socket, record) }
      statistics.systemCalls += 1
      let got = DatagramLayout.receive(
        socket, large.address(of: index), large.state.pointee.bufferSize)
      guard got >= 0 else {
        large.putBack(index)
        return datagramsEnded(socket, record, Int32(got))
      }
      report(record, index, got)
    }
    rearmDatagrams(socket, record)
  }

  public mutating func takeDatagram(_ completion: Completion) -> Datagram {
    precondition(completion.hasDatagram, "a completion without a datagram was redeemed")
    return DatagramLayout.datagram(large.redeemWhole(completion))
  }

  // MARK: Sending

  public mutating func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress,
    segmentSize: Int, _ token: Token
  ) {
    precondition(!chainIsOpen, "a datagram cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(record.pointee.state.contains(.datagrams), "a datagram on a stream socket")
    let state = frame.state
    state.pointee.token = token
    state.pointee.descriptor = socket.rawValue
    let cell = frame.surrender()
    let flaw = DatagramLayout.flaw(of: cell, segmentSize: segmentSize)
    guard flaw == 0 else {
      later.append(Completion(token: token, result: flaw))
      return SendFrame.recycle(cell)
    }
    state.pointee.mode = .datagram
    DatagramLayout.address(cell, to: address, segmentSize: segmentSize)
    enlist(cell, record)
    statistics.operationsInFlight += 1
    submitDatagram(cell)
  }

  private mutating func submitDatagram(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_SENDMSG)
    entry.pointee.fd = state.pointee.descriptor
    // SAFETY: the cell does not move and outlives the operation.
    entry.pointee.addr = UInt64(UInt(bitPattern: cell + FrameLayout.messageOffset))
    entry.pointee.len = 1
    entry.pointee.op_flags = UInt32(MSG_NOSIGNAL)
    entry.pointee.user_data = Self.userData(.send, 0, state.pointee.index)
  }

  mutating func sentDatagram(_ cell: UnsafeMutableRawPointer, _ result: Int32) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    if result == -EINTR || result == -EAGAIN, !state.pointee.cancelled {
      return submitDatagram(cell)
    }
    let ending = result == -EINTR || result == -EAGAIN ? -ECANCELED : result
    delist(cell, sockets[state.pointee.descriptor])
    state.pointee.sent = Int(max(0, ending))
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: state.pointee.token, result: ending))
    SendFrame.recycle(cell)
  }
}

extension DatagramLayout {
  /// recvmsg(2) without waiting, laid out as the kernel's multishot recvmsg does it.
  /// - Returns: bytes of content, or a negated errno.
  static func receive(
    _ socket: Int32, _ base: UnsafeMutableRawPointer, _ size: Int
  ) -> Int {
    var vector = iovec(iov_base: base + contentOffset, iov_len: size - contentOffset)
    return withUnsafeMutablePointer(to: &vector) { vector in
      var message = msghdr()
      message.msg_name = base + nameOffset
      message.msg_namelen = socklen_t(nameBytes)
      message.msg_control = base + controlOffset
      message.msg_controllen = controlBytes
      message.msg_iov = vector
      message.msg_iovlen = 1
      let got = recvmsg(socket, &message, Int32(MSG_DONTWAIT))
      guard got >= 0 else { return -Int(errno) }
      base.storeBytes(
        of: clinux_recvmsg_out(
          namelen: message.msg_namelen, controllen: UInt32(message.msg_controllen),
          payloadlen: UInt32(got), flags: UInt32(bitPattern: message.msg_flags)),
        as: clinux_recvmsg_out.self)
      return got
    }
  }
}
