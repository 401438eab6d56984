// Datagrams: a multishot recvmsg into large buffers, which the kernel lays out with the sender's
// address and control data before the content; and gathered sends with an address.

import CLinux
import Glibc

extension Uring {
  public mutating func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool
  ) throws(SystemFailure) -> Descriptor {
    let socket = try Sockets.bindDatagrams(
      address, reusePort: reusePort, coalesce: coalesce, nonblocking: false)
    guard Int(socket) < sockets.limit else {
      Glibc.close(socket)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    sockets.open(socket).pointee.state.insert(.datagrams)
    return Descriptor(rawValue: socket)
  }

  public mutating func receiveDatagrams(_ socket: Descriptor, _ token: Token) {
    precondition(!isMakingChain, "a receive of datagrams cannot be a step of a chain")
    let record = sockets[socket.rawValue]
    precondition(
      record.pointee.state.isDisjoint(with: .receiving), "two receives on one socket")
    record.pointee.receiveToken = token
    record.pointee.state.insert(.receivingDatagrams)
    statistics.operationsInFlight += 1
    armReceive(socket.rawValue, record)
  }

  /// The rest of an entry that receives datagrams. Always a multishot: only that lays them out.
  func askForDatagrams(_ entry: UnsafeMutablePointer<clinux_sqe>) {
    entry.pointee.opcode = UInt8(CLINUX_OP_RECVMSG)
    entry.pointee.ioprio = UInt16(CLINUX_RECV_MULTISHOT)
    entry.pointee.addr = UInt64(UInt(bitPattern: datagramHeader))
    entry.pointee.len = 1
    entry.pointee.buf_index = 1
  }

  mutating func reportDatagram(
    _ record: UnsafeMutablePointer<SocketRecord>, _ buffer: UInt32
  ) {
    let header = large.address(of: buffer).load(as: clinux_recvmsg_out.self)
    var report = Completion(
      token: record.pointee.receiveToken, result: Int32(clamping: header.payloadlen), more: true,
      buffer: large.report(buffer))
    report.flags |= Completion.largeFlag | Completion.datagramFlag
    queue.append(report)
  }

  public mutating func takeDatagram(_ completion: Completion) -> Datagram {
    precondition(completion.hasDatagram, "a completion without a datagram was redeemed")
    return DatagramLayout.datagram(large.redeemWhole(completion))
  }

  public mutating func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress,
    segmentSize: Int, _ token: Token
  ) {
    precondition(!isMakingChain, "a datagram cannot be a step of a chain")
    precondition(
      sockets[socket.rawValue].pointee.state.contains(.datagrams),
      "a datagram on a stream socket")
    let state = frame.state
    state.pointee.token = token
    state.pointee.descriptor = socket.rawValue
    state.pointee.mode = .datagram
    let cell = frame.surrender()
    statistics.operationsInFlight += 1
    let flaw = DatagramLayout.flaw(of: cell, segmentSize: segmentSize)
    if flaw != 0 { return endDatagram(cell, flaw) }
    DatagramLayout.address(cell, to: address, segmentSize: segmentSize)
    submitDatagram(cell)
  }

  private mutating func submitDatagram(_ cell: UnsafeMutableRawPointer) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_SENDMSG)
    aim(entry, at: state.pointee.descriptor)
    entry.pointee.addr = UInt64(UInt(bitPattern: cell + FrameLayout.messageOffset))
    entry.pointee.len = 1
    entry.pointee.op_flags = UInt32(MSG_NOSIGNAL)
    entry.pointee.user_data = Self.userData(.send, 0, state.pointee.index)
  }

  private mutating func endDatagram(_ cell: UnsafeMutableRawPointer, _ result: Int32) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    statistics.operationsInFlight -= 1
    queue.append(Completion(token: state.pointee.token, result: result))
    SendFrame.recycle(cell)
  }

  /// A send that is not a stream's ordinary one has a word from the kernel.
  @inline(never)
  mutating func sentOtherwise(_ cell: UnsafeMutableRawPointer, _ completion: clinux_cqe) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    guard state.pointee.mode == .datagram else { return sentZeroCopy(cell, completion) }
    let again = completion.res == -EINTR || completion.res == -EAGAIN
    if again && !state.pointee.cancelled { return submitDatagram(cell) }
    endDatagram(cell, completion.res == -EINTR ? -ECANCELED : completion.res)
  }
}
