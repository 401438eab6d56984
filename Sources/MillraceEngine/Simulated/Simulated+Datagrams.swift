// Datagrams: each in a large buffer of its own, or several of one sender together.

import CLinux
import Glibc

extension Simulated {
  /// Datagrams of one socket in a row before others get their turn.
  private static let datagramsInRow = 16

  public mutating func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool
  ) throws(SystemFailure) -> Descriptor {
    try checkDescriptors("socket for \(address)")
    let socket = try world.bindDatagrams(address, reusePort: reusePort, coalesces: coalesce)
    guard let number = open(SimulatedHandle(.datagrams(socket))) else {
      world.unbind(socket)
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    return Descriptor(rawValue: number)
  }

  public mutating func receiveDatagrams(_ socket: Descriptor, _ token: Token) {
    refuseInChain()
    let handle = known(socket)
    precondition(handle.receiving == nil, "two receives on one socket")
    world.note(.datagramReceive, token.rawValue, Int64(socket.rawValue))
    handle.receiveToken = token
    handle.receiving = .stream
    statistics.operationsInFlight += 1
    inbox.mark(socket.rawValue)
  }

  mutating func serveDatagrams(
    _ number: Int32, _ handle: SimulatedHandle, _ socket: SimulatedDatagramSocket,
    mayStarve: Bool = true
  ) {
    guard handle.receiving != nil, !handle.isStarved || handle.stopsReceiving else { return }
    var left = Self.datagramsInRow
    while left > 0, !socket.waiting.isEmpty {
      let hasNone = mayStarve && world.dice.chance(world.conditions.starvation)
      guard !hasNone, let index = large.takeFree() else {
        if handle.stopsReceiving { break }
        statistics.receivesStarved += 1
        handle.isStarved = true
        starved.append(number)
        return
      }
      report(takeTogether(socket), in: index, handle)
      left -= 1
    }
    if handle.stopsReceiving { return endReceive(handle, -ECANCELED) }
    if !socket.waiting.isEmpty { inbox.mark(number) }
  }

  /// The first datagram, with coalescing those of its sender and size that follow, and one shorter.
  private func takeTogether(_ socket: SimulatedDatagramSocket) -> SimulatedDatagram {
    var first = socket.takeFirst()
    let size = first.bytes.count
    first.segmentSize = size
    var last = size
    let limit = min(65_535, large.state.pointee.bufferSize)
    while socket.coalesces, last == size, size > 0, let next = socket.waiting.first,
      next.bytes.count <= size, !next.bytes.isEmpty, "\(next.sender)" == "\(first.sender)",
      first.bytes.count + next.bytes.count <= limit, first.bytes.count < 64 * size,
      !world.dice.chance(world.conditions.shortReceives)
    {
      let joined = socket.takeFirst()
      first.bytes += joined.bytes
      last = joined.bytes.count
    }
    return first
  }

  private mutating func report(
    _ datagram: SimulatedDatagram, in index: UInt32, _ handle: SimulatedHandle
  ) {
    let size = large.state.pointee.bufferSize
    let count = min(size, datagram.bytes.count)
    var note = datagram
    note.bytes = []
    note.isTruncated = count < datagram.bytes.count
    note.segmentSize = min(datagram.segmentSize, count)
    datagrams[index] = note
    let target = large.address(of: index)
    datagram.bytes.withUnsafeBytes {
      if let base = $0.baseAddress { memcpy(target, base, count) }
    }
    world.note(
      .datagramReceive, handle.receiveToken.rawValue, Int64(count),
      world.trace.sum(UnsafeRawBufferPointer(start: target, count: count)))
    var completion = Completion(
      token: handle.receiveToken, result: Int32(count), more: true,
      buffer: large.report(index, count))
    completion.flags |= Completion.datagramFlag | Completion.largeFlag
    queue.append(completion)
  }

  public mutating func takeDatagram(_ completion: Completion) -> Datagram {
    precondition(completion.hasDatagram, "a completion without a datagram was redeemed")
    let content = large.redeem(completion)
    guard let note = datagrams.removeValue(forKey: completion.bufferIndex) else {
      preconditionFailure("a datagram was redeemed twice")
    }
    return Datagram(
      content: content, sender: note.sender, segmentSize: note.segmentSize,
      isTruncated: note.isTruncated)
  }

  public mutating func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress,
    segmentSize: Int, _ token: Token
  ) {
    refuseInChain()
    frame.state.pointee.token = token
    world.note(.datagramSend, token.rawValue, Int64(frame.count), sum(frame))
    statistics.operationsInFlight += 1
    var bytes: [UInt8] = []
    bytes.reserveCapacity(frame.count)
    for i in 0..<frame.segmentCount { bytes.append(contentsOf: frame.segment(i)) }
    let cell = frame.surrender()
    var result = -Int(EBADF)
    if case .datagrams(let from)? = handle(socket.rawValue)?.thing {
      result = world.send(bytes, from: from, to: address, segmentSize: segmentSize)
    }
    inbox.finished(.datagramSent(cell, Int32(clamping: result)))
  }

  mutating func datagramSent(_ cell: UnsafeMutableRawPointer, _ result: Int32) {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let token = state.pointee.token
    state.pointee.sent = Int(max(0, result))
    SendFrame.recycle(cell)
    ended(token, result)
  }
}
