// Receiving: a buffer is taken only when there is something to read, so an idle socket pins none.
//
// TRAP: (file) the caller keeps one in flight a socket and knows by its own flag; a peer cannot
// submit. Completions are this engine's own values, and the caller redeems each once.

import CLinux
import Glibc

extension Epoll {
  /// Small reads of one socket in a row before others get their turn. 16 x 4 KiB is what a
  /// multishot receive of the other engine brings in one batch at most twice over.
  private static let readsInRow = 16

  public mutating func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    if chains.isOpen {
      precondition(mode == .once, "of receives only .once can be a step of a chain")
      statistics.operationsInFlight += 1
      _ = chains.append(
        ChainStep(
          kind: .receive, index: 0, cell: nil, descriptor: socket.rawValue, token: token))
      return
    }
    let record = sockets[socket.rawValue]
    precondition(
      record.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "two receives on one socket")
    record.pointee.receiveToken = token
    record.pointee.state.insert(mode == .stream ? .receivingStream : .receivingOnce)
    statistics.operationsInFlight += 1
    if record.pointee.state.contains(.readable) { enqueue(socket.rawValue) }
  }

  /// Starts the receive of a chain.
  mutating func startReceive(_ step: ChainStep) {
    let record = sockets[step.descriptor]
    precondition(
      record.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "two receives on one socket")
    record.pointee.receiveToken = step.token
    record.pointee.state.formUnion([.receivingOnce, .receiveChained])
    // The edge may have come before.
    record.pointee.state.insert(.readable)
    enqueue(step.descriptor)
  }

  public mutating func stopReceiving(_ socket: Descriptor) {
    let record = sockets[socket.rawValue]
    guard !record.pointee.state.isDisjoint(with: .receiving) else { return }
    endReceive(record, -ECANCELED)
  }

  private mutating func endReceive(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    let wasReset = result == 0 && record.pointee.state.contains(.errorTaken)
    let wasChained = record.pointee.state.contains(.receiveChained)
    record.pointee.state.subtract([.receiving, .starved, .receiveChained])
    statistics.operationsInFlight -= 1
    let result = wasReset ? -ECONNRESET : result
    queue.append(Completion(token: record.pointee.receiveToken, result: result))
    if wasChained { receiveStepEnded(record, succeeded: result >= 0) }
  }

  @inline(never)
  private mutating func receiveStepEnded(
    _ record: UnsafeMutablePointer<SocketRecord>, succeeded: Bool
  ) {
    let chain = chains.running(receiveOn: sockets.descriptor(of: record))
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  @inline(__always)
  mutating func readAvailable(_ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>) {
    if record.pointee.state.contains(.receivingOnce) {
      readOnce(socket, record)
    } else if record.pointee.state.contains(.receivingDatagrams) {
      readDatagrams(socket, record)
    } else {
      readStream(socket, record)
    }
  }

  private mutating func readStream(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    for _ in 0..<Self.readsInRow {
      guard let index = small.takeFree() else { return starve(socket, record) }
      statistics.systemCalls += 1
      let size = small.state.pointee.bufferSize
      let got = clinux_receive(target(socket), small.address(of: index), size, 0)
      guard got > 0 else {
        small.putBack(index)
        return readFailed(record, Int32(got), socket)
      }
      queue.append(
        Completion(
          token: record.pointee.receiveToken, result: Int32(got), more: true,
          buffer: small.report(index, got)))
      // A short read has emptied the socket: the next edge will tell, epoll(7). Not after a
      // hang-up, whose edge has come already.
      if got < size && !record.pointee.state.contains(.hangup) {
        record.pointee.state.remove(.readable)
        return
      }
    }
    enqueue(socket)
  }

  private mutating func readOnce(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    guard let index = large.takeFree() else { return starve(socket, record) }
    statistics.systemCalls += 1
    let size = large.state.pointee.bufferSize
    let got = clinux_receive(target(socket), large.address(of: index), size, 0)
    guard got > 0 else {
      large.putBack(index)
      return readFailed(record, Int32(got), socket)
    }
    if got < size && !record.pointee.state.contains(.hangup) {
      record.pointee.state.remove(.readable)
    }
    let wasChained = record.pointee.state.contains(.receiveChained)
    record.pointee.state.subtract([.receiving, .receiveChained])
    statistics.operationsInFlight -= 1
    var report = Completion(
      token: record.pointee.receiveToken, result: Int32(got), buffer: large.report(index, got))
    report.flags = Completion.largeFlag
    queue.append(report)
    if wasChained { receiveStepEnded(record, succeeded: true) }
  }

  mutating func readFailed(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32, _ socket: Int32
  ) {
    switch result {
    case -EAGAIN: record.pointee.state.remove(.readable)
    case -EINTR: enqueue(socket)
    default: endReceive(record, result)
    }
  }

  mutating func starve(
    _ socket: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    guard !record.pointee.state.contains(.starved) else { return }
    statistics.receivesStarved += 1
    // A chain does not wait for memory: see `receive`.
    if record.pointee.state.contains(.receiveChained) { return endReceive(record, -ENOBUFS) }
    record.pointee.state.insert(.starved)
    if record.pointee.state.contains(.receivingStream) {
      starvedSmall.append(socket, record)
    } else {
      starvedLarge.append(socket, record)
    }
  }

  @inline(__always)
  public mutating func takeSlice(_ completion: Completion) -> BufferSlice {
    precondition(completion.hasBytes, "a completion without bytes was redeemed")
    return completion.flags & Completion.largeFlag != 0
      ? large.redeem(completion) : small.redeem(completion)
  }

  public mutating func lease() -> BufferSlice? { large.lease() }

  public mutating func coldMemory(_ size: Int) -> BufferSlice {
    ColdMemory.allocate(size, ledger: small.state)
  }

  @inline(__always)
  public var isLowOnBuffers: Bool { small.isLow || large.isLow }

  @inline(__always)
  public mutating func frame() -> SendFrame? { frames.take() }
}
