// Receiving: multishot into small buffers, or one arrival into a large one. ENOBUFS never shows
// above: the socket waits in a list until buffers come back.
//
// TRAP: (file) the caller keeps one in flight a socket and knows by its own flag; a peer cannot
// submit. Completions are this engine's own values, and the caller redeems each once.

import CLinux
import Glibc

extension Uring {
  public mutating func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    if chainIsOpen { return receiveStep(socket, mode, token) }
    let record = sockets[socket.rawValue]
    precondition(
      record.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "two receives on one socket")
    record.pointee.receiveToken = token
    record.pointee.state.insert(mode == .stream ? .receivingStream : .receivingOnce)
    statistics.operationsInFlight += 1
    // Behind those that wait for a large buffer: tried at once, two sockets that always have something to
    // read would leave them none.
    if mode == .once && !starvedLarge.isEmpty { record.pointee.state.insert(.pollsFirst) }
    armReceive(socket.rawValue, record)
  }

  /// A receive into a large buffer found none. The kernel asks for a buffer before it looks for something to
  /// read: one that may have nothing polls first, so that only those wait for a buffer that can use it.
  private mutating func foundNoLargeBuffer(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    guard record.pointee.state.contains(.pollsFirst) else {
      record.pointee.state.insert(.pollsFirst)
      return armReceive(descriptor, record)
    }
    record.pointee.state.insert(.starved)
    // While the pool has some, only the kernel's share is used up, until the next turn.
    if large.freeCount == 0 { statistics.receivesStarved += 1 }
    starvedLarge.append(descriptor, record)
  }

  @inline(__always)
  func receiveUserData(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) -> UInt64 {
    let isDatagrams = record.pointee.state.contains(.receivingDatagrams)
    return Self.userData(
      isDatagrams ? .datagrams : .receive, record.pointee.generation,
      UInt32(bitPattern: descriptor))
  }

  @inline(__always)
  mutating func armReceive(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    let stream = record.pointee.state.contains(.receivingStream)
    // Of a UNIX socket the kernel often misses the end after the last bytes when they come back to
    // back (axboe/liburing#1549, seen up to 6.18): there a receive is for one arrival.
    let multishot = stream && !record.pointee.state.contains(.local)
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_RECV)
    entry.pointee.flags = UInt8(CLINUX_SQE_BUFFER_SELECT)
    if stream {
      entry.pointee.ioprio = multishot ? streamFlags : streamFlags & ~UInt16(CLINUX_RECV_MULTISHOT)
    } else if record.pointee.state.contains(.pollsFirst) {
      entry.pointee.ioprio = UInt16(CLINUX_RECVSEND_POLL_FIRST)
    }
    aim(entry, at: descriptor)
    if entry.pointee.ioprio & UInt16(CLINUX_RECV_MULTISHOT) != 0 {
      entry.pointee.file_index = streamLimit
    }
    entry.pointee.buf_index = stream ? 0 : 1
    entry.pointee.user_data = receiveUserData(descriptor, record)
  }

  public mutating func stopReceiving(_ socket: Descriptor) {
    if chainedReceives > 0 { stopReceiveSteps(socket.rawValue) }
    let record = sockets[socket.rawValue]
    guard !record.pointee.state.isDisjoint(with: .receiving),
      !record.pointee.state.contains(.stoppingReceive)
    else { return }
    record.pointee.state.insert(.stoppingReceive)
    if record.pointee.state.contains(.starved) {
      endReceive(record, -ECANCELED)
    } else {
      cancel(receiveUserData(socket.rawValue, record))
    }
  }

  mutating func endReceive(
    _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32
  ) {
    let wasReset = result == 0 && record.pointee.state.contains(.errorTaken)
    record.pointee.state.subtract([.receiving, .stoppingReceive, .starved, .pollsFirst, .reviving])
    statistics.operationsInFlight -= 1
    queue.append(
      Completion(
        token: record.pointee.receiveToken, result: wasReset ? -ECONNRESET : result))
  }

  @inline(__always)
  mutating func received(_ descriptor: Int32, _ generation: UInt32, _ completion: clinux_cqe) {
    let record = sockets[descriptor]
    let stream = record.pointee.state.contains(.receivingStream)
    guard record.pointee.generation == generation,
      !record.pointee.state.isDisjoint(with: .receiving)
    else { return engineBug("a receive completed that nobody has in flight") }
    let more = completion.flags & UInt32(CLINUX_CQE_F_MORE) != 0
    if stream && smallRing.isTracked {
      return receivedInParts(descriptor, record, completion)
    }
    var buffer = Completion.noBuffer
    if completion.flags & UInt32(CLINUX_CQE_F_BUFFER) != 0 {
      buffer = completion.flags >> UInt32(CLINUX_CQE_BUFFER_SHIFT)
      if stream { smallRing.taken() } else { largeRing.taken() }
    }
    guard completion.res > 0, buffer != Completion.noBuffer else {
      if buffer != Completion.noBuffer {
        if stream { small.putBack(buffer) } else { large.putBack(buffer) }
      }
      return receiveEnded(descriptor, record, completion.res, more)
    }
    if stream {
      queue.append(
        Completion(
          token: record.pointee.receiveToken, result: completion.res, more: true,
          buffer: small.report(buffer, Int(completion.res))))
      if more { suspect(descriptor, record) } else { rearmStream(descriptor, record) }
    } else {
      record.pointee.state.subtract([.receiving, .stoppingReceive, .pollsFirst])
      statistics.operationsInFlight -= 1
      var report = Completion(
        token: record.pointee.receiveToken, result: completion.res,
        buffer: large.report(buffer, Int(completion.res)))
      report.flags = Completion.largeFlag
      queue.append(report)
    }
  }

  /// The kernel ends a multishot now and then (a full queue, fairness), and a single shot always:
  /// arm it again.
  @inline(__always)
  mutating func rearmStream(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>
  ) {
    if record.pointee.state.contains(.stoppingReceive) {
      endReceive(record, -ECANCELED)
    } else {
      armReceive(descriptor, record)
    }
  }

  /// A completion without bytes: end of stream, an error, or no buffer.
  mutating func receiveEnded(
    _ descriptor: Int32, _ record: UnsafeMutablePointer<SocketRecord>, _ result: Int32,
    _ more: Bool
  ) {
    guard !more else { return }
    if record.pointee.state.contains(.stoppingReceive) {
      // The kernel tells an error once: the next receive would see a clean end of stream.
      if result < 0 && result != -ECANCELED { record.pointee.state.insert(.errorTaken) }
      return endReceive(record, result == 0 ? 0 : -ECANCELED)
    }
    if result == -ECANCELED && record.pointee.state.contains(.reviving) {
      record.pointee.state.remove(.reviving)
      return armReceive(descriptor, record)
    }
    switch result {
    case -ENOBUFS:
      guard record.pointee.state.contains(.receivingStream) else {
        return foundNoLargeBuffer(descriptor, record)
      }
      statistics.receivesStarved += 1
      record.pointee.state.insert(.starved)
      starvedSmall.append(descriptor, record)
    case -EINTR, -EAGAIN:
      armReceive(descriptor, record)
    default:
      endReceive(record, result)
    }
  }

  /// Tops the kernel's buffers up and arms receives that waited for them, as many as there are
  /// buffers: the rest would only fail again.
  ///
  /// When the last buffers are with callers, time passes until one comes back, and nothing in the
  /// kernel would tell; but who gives it back is the loop, which comes through here again.
  /// - Returns: true if receives still wait although the kernel has buffers (those that were armed
  ///   may have nothing to read): the turn must not sleep.
  @inline(__always)
  mutating func restock() -> Bool {
    let hasSmall = smallRing.refill(from: small)
    // A step of a chain fails where no buffer is left, and a multishot of datagrams ends.
    let needsAll = receivesDatagrams || chainedReceives > 0
    let hasLarge = largeRing.refill(from: large, upTo: needsAll ? .max : Self.largeStreamDepth)
    if starvedSmall.isEmpty && starvedLarge.isEmpty { return false }
    return rearmStarved(hasSmall: hasSmall, hasLarge: hasLarge)
  }

  @inline(never)
  private mutating func rearmStarved(hasSmall: Bool, hasLarge: Bool) -> Bool {
    var budget = hasSmall ? smallRing.provided : 0
    while budget > 0, let descriptor = starvedSmall.popFirst(sockets) {
      budget -= rearm(descriptor, .receivingStream)
    }
    budget = hasLarge ? largeRing.provided : 0
    while budget > 0, let descriptor = starvedLarge.popFirst(sockets) {
      budget -= rearm(descriptor, [])
    }
    return (hasSmall && !starvedSmall.isEmpty) || (hasLarge && !starvedLarge.isEmpty)
  }

  /// Arms a receive that still waits. One with nothing to read takes a buffer and puts it back.
  ///
  /// Without RECVSEND_POLL_FIRST: a multishot receive that polls first on a socket which holds
  /// bytes and a reset reports the bytes and never the reset (Linux 6.18).
  /// - Parameter mode: `.receivingStream`, or nothing for receives into large buffers.
  /// - Returns: receives armed.
  private mutating func rearm(_ descriptor: Int32, _ mode: SocketState) -> Int {
    let record = sockets[descriptor]
    guard record.pointee.state.isSuperset(of: mode.union(.starved)) else { return 0 }
    if mode.isEmpty && record.pointee.state.contains(.receivingStream) { return 0 }
    record.pointee.state.subtract([.starved, .pollsFirst])
    if record.pointee.state.contains(.receivingDatagrams) {
      armDatagrams(descriptor, record)
    } else {
      armReceive(descriptor, record)
    }
    return 1
  }

  @inline(__always)
  public mutating func takeSlice(_ completion: Completion) -> BufferSlice {
    precondition(completion.hasBytes, "a completion without bytes was redeemed")
    if completion.flags & Completion.pieceFlag != 0 { return small.redeemPiece(completion) }
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
