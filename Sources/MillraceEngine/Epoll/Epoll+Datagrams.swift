// Datagrams: received as the other engine's kernel lays them out, sent at once, and in order of
// submission once one had to wait.
//
// TRAP: (file) the caller knows which sockets it opened for datagrams, keeps one receive in flight,
// and redeems a completion of this engine once. The queue's end was stored as a pointer that is not
// null.

import CLinux
import Glibc

extension Epoll {
  /// Batches of one socket in a row before others get their turn.
  private static let batchesInRow = 2

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
    for _ in 0..<Self.batchesInRow {
      let wanted = aimBatch()
      guard wanted > 0 else { return starve(socket, record) }
      statistics.systemCalls += 1
      let count = batch.receive(target(socket), wanted)
      for position in (max(count, 0)..<wanted).reversed() { large.putBack(batch.buffer(position)) }
      guard count >= 0 else { return readFailed(record, Int32(count), socket) }
      for position in 0..<count { reportDatagram(position, record) }
      // Fewer than asked for have emptied the socket: the next edge will tell.
      if count < wanted {
        record.pointee.state.remove(.readable)
        return
      }
    }
    enqueue(socket)
  }

  /// Takes large buffers for a batch, as far as there are some. - Returns: how many.
  private func aimBatch() -> Int {
    for position in 0..<DatagramBatch.limit {
      guard let index = large.takeFree() else { return position }
      batch.aim(position, at: large.address(of: index), large.state.pointee.bufferSize, index)
    }
    return DatagramBatch.limit
  }

  private mutating func reportDatagram(
    _ position: Int, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    let index = batch.buffer(position)
    let length = batch.describe(position, at: large.address(of: index))
    var report = Completion(
      token: record.pointee.receiveToken, result: Int32(length), more: true,
      buffer: large.report(index, length))
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
      append(cell, to: record)
      record.pointee.state.insert(.sendParked)
    }
  }

  /// Adds a frame to the socket's queue. Its last one stands where other sockets have the token
  /// of an accept or a connect.
  private func append(
    _ cell: UnsafeMutableRawPointer, to record: UnsafeMutablePointer<SocketRecord>
  ) {
    if record.pointee.sendCell == nil {
      record.pointee.sendCell = cell
    } else {
      let last = UnsafeMutableRawPointer(bitPattern: UInt(record.pointee.setupToken.rawValue))!
      last.assumingMemoryBound(to: FrameState.self).pointee.next = cell
    }
    record.pointee.setupToken = Token(rawValue: UInt64(UInt(bitPattern: cell)))
  }

  /// - Returns: false if the socket has no room.
  private mutating func sendNow(_ cell: UnsafeMutableRawPointer) -> Bool {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let message = (cell + FrameLayout.messageOffset).assumingMemoryBound(to: msghdr.self)
    while true {
      statistics.systemCalls += 1
      let result = clinux_send_message(
        target(state.pointee.descriptor), message, Int32(MSG_NOSIGNAL))
      if result >= 0 {
        endDatagram(cell, Int32(clamping: result))
        return true
      }
      if result == -Int(EINTR) { continue }
      if result == -Int(EAGAIN) { return false }
      endDatagram(cell, Int32(result))
      return true
    }
  }

  private mutating func endDatagram(_ cell: UnsafeMutableRawPointer, _ result: Int32) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    state.pointee.sent = Int(max(0, result))
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
    var cell = record.pointee.sendCell
    record.pointee.sendCell = nil
    while let one = cell {
      let state = one.assumingMemoryBound(to: FrameState.self)
      cell = state.pointee.next
      if matches(state.pointee.token) {
        endDatagram(one, -ECANCELED)
        continue
      }
      state.pointee.next = nil
      append(one, to: record)
    }
    if record.pointee.sendCell == nil { record.pointee.state.remove(.sendParked) }
  }
}
