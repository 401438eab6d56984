// Sending: tried at once, or by the next wait as a ring does; what does not fit waits for room, with
// its hot buffers copied out first when they are getting few.

import CLinux
import Glibc

extension Simulated {
  public mutating func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token
  ) {
    frame.state.pointee.token = token
    frame.state.pointee.descriptor = socket.rawValue
    world.note(.send, token.rawValue, Int64(frame.count), sum(frame))
    let cell = frame.surrender()
    if openChain != nil { evacuateIfLow(cell) }
    let isStep = isStep(
      token, { $0.start(socket, cell, .awaited, token) }, on: socket,
      cancel: {
        SendFrame.recycle(cell)
        $0.ended(token, -ECANCELED)
      })
    if !isStep { start(socket, cell, urgency, token) }
  }

  private mutating func start(
    _ socket: Descriptor, _ cell: UnsafeMutableRawPointer, _ urgency: SendUrgency, _ token: Token,
    isZeroCopy: Bool = false
  ) {
    guard let handle = handle(socket.rawValue), case .stream(let end) = handle.thing else {
      SendFrame.recycle(cell)
      return refuse(token, -EBADF)
    }
    precondition(handle.sendCell == nil && handle.relayTo == nil, "two sends on one socket")
    handle.sendCell = cell
    handle.urgency = urgency
    handle.isZeroCopy = isZeroCopy
    if isZeroCopy { cell.assumingMemoryBound(to: FrameState.self).pointee.mode = .zeroCopy }
    handle.sendChain = beginning
    statistics.operationsInFlight += 1
    if world.dice.chance(world.conditions.deferredSends) {
      handle.isDeferred = true
      deferredSends.append(socket.rawValue)
    } else {
      trySend(socket.rawValue, handle, end)
    }
  }

  func sum(_ frame: borrowing SendFrame) -> UInt64 {
    var sum: UInt64 = 0
    for i in 0..<frame.segmentCount { sum = sum &* 31 &+ world.trace.sum(frame.segment(i)) }
    return sum
  }

  /// Makes the first tries that were left to the next wait, or to `submit`.
  mutating func makeDeferredSends() {
    guard !deferredSends.isEmpty else { return }
    let waiting = deferredSends
    deferredSends = []
    for number in waiting {
      guard let handle = handle(number), handle.isDeferred, case .stream(let end) = handle.thing
      else { continue }
      handle.isDeferred = false
      trySend(number, handle, end)
    }
  }

  /// The first try. A quiet send that leaves whole is reported with the next event.
  private mutating func trySend(_ number: Int32, _ handle: SimulatedHandle, _ end: SimulatedEnd) {
    guard let cell = handle.sendCell else { return }
    let state = cell.assumingMemoryBound(to: FrameState.self)
    var limit = Int.max
    if state.pointee.total > 1 && world.dice.chance(world.conditions.shortSends) {
      limit = 1 + world.dice.roll(state.pointee.total - 1)
    }
    switch push(cell, end, atMost: limit) {
    case .whole:
      let isEager =
        handle.urgency == .awaited || world.dice.chance(world.conditions.eagerQuietSends)
      if isEager { return endSend(handle, nil) }
      handle.isSilent = true
      quietSends.append(number)
    case .failed(let code): endSend(handle, code)
    case .short:
      statistics.sendsShort += 1
      evacuateIfLow(cell)
      // There may be room all the same: nobody else would tell.
      if end.isWritable { world.after(world.latency()) { [inbox] in inbox.mark(number) } }
    }
  }

  /// Copies the hot buffers of a send that has to wait, when few are left.
  private mutating func evacuateIfLow(_ cell: UnsafeMutableRawPointer) {
    guard isLowOnBuffers else { return }
    statistics.framesEvacuated += 1
    SendFrame.evacuate(cell)
  }

  mutating func continueSend(_ number: Int32, _ handle: SimulatedHandle, _ end: SimulatedEnd) {
    guard let cell = handle.sendCell, !handle.isDeferred, !handle.isSilent else { return }
    switch push(cell, end, atMost: .max) {
    case .whole: endSend(handle, nil)
    case .failed(let code): endSend(handle, code)
    case .short: break
    }
  }

  private enum Progress { case whole, short, failed(Int32) }

  /// Gives the socket what it takes.
  private func push(
    _ cell: UnsafeMutableRawPointer, _ end: SimulatedEnd, atMost limit: Int
  ) -> Progress {
    let state = cell.assumingMemoryBound(to: FrameState.self)
    let vectors = (cell + FrameLayout.vectorsOffset).assumingMemoryBound(to: iovec.self)
    var left = limit
    if state.pointee.total == 0 {
      let result = end.write(UnsafeRawBufferPointer(start: nil, count: 0))
      return result < 0 ? .failed(Int32(result)) : .whole
    }
    while left > 0 {
      let vector = vectors[Int(state.pointee.segmentsSent)]
      let length = min(left, vector.iov_len)
      let result = end.write(UnsafeRawBufferPointer(start: vector.iov_base, count: length))
      if result == -Int(EAGAIN) { return .short }
      if result < 0 { return .failed(Int32(result)) }
      if advanceFrame(cell, by: result) { return .whole }
      if result < length { return .short }
      left -= result
    }
    return .short
  }

  private mutating func endSend(_ handle: SimulatedHandle, _ failure: Int32?) {
    guard let cell = handle.sendCell else { return }
    let state = cell.assumingMemoryBound(to: FrameState.self)
    handle.sendCell = nil
    let chain = handle.sendChain
    handle.sendChain = nil
    if handle.isZeroCopy && failure == nil { return hold(cell, handle) }
    if let failure, Sockets.tookError(failure) { handle.errorTaken = true }
    ended(state.pointee.token, failure ?? Int32(clamping: state.pointee.total))
    SendFrame.recycle(cell)
    advance(chain, failure == nil)
  }

  /// Reports the sends that have succeeded in silence, before what came after them. Backwards, so
  /// that they keep their order.
  mutating func reportQuietSends() {
    guard !quietSends.isEmpty else { return }
    for number in quietSends.reversed() {
      guard let handle = handle(number), let cell = handle.sendCell else { continue }
      let state = cell.assumingMemoryBound(to: FrameState.self)
      handle.sendCell = nil
      handle.isSilent = false
      statistics.operationsInFlight -= 1
      queue.prepend(
        Completion(token: state.pointee.token, result: Int32(clamping: state.pointee.total)))
      SendFrame.recycle(cell)
    }
    quietSends = []
  }

  /// Ends a send with ECANCELED, unless all of it has left.
  mutating func cancelSend(_ handle: SimulatedHandle) {
    guard handle.sendCell != nil, !handle.isSilent else { return }
    handle.isDeferred = false
    endSend(handle, -ECANCELED)
  }

  // MARK: Without copying

  public mutating func sendZeroCopy(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token
  ) {
    refuseInChain()
    frame.state.pointee.token = token
    frame.state.pointee.descriptor = socket.rawValue
    world.note(.send, token.rawValue, Int64(frame.count), sum(frame))
    start(socket, frame.surrender(), .awaited, token, isZeroCopy: true)
  }

  /// All of the frame has left: it is kept until the other side has it, or was copied after all.
  private mutating func hold(_ cell: UnsafeMutableRawPointer, _ handle: SimulatedHandle) {
    guard case .stream(let end) = handle.thing else { return }
    let state = cell.assumingMemoryBound(to: FrameState.self)
    queue.append(
      Completion(
        token: state.pointee.token, result: Int32(clamping: state.pointee.total), more: true))
    let isCopied =
      end.remote.isUnix || !options.features.contains(.zeroCopySend)
      || state.pointee.total < options.zeroCopyThreshold
      || world.dice.chance(world.conditions.copiedZeroCopies)
    state.pointee.wasCopied = isCopied
    handle.heldFrames.append(
      SimulatedHeldFrame(cell: cell, position: isCopied ? 0 : end.taken, isCopied: isCopied))
    inbox.mark(state.pointee.descriptor)
  }

  mutating func releaseHeldFrames(_ handle: SimulatedHandle, _ end: SimulatedEnd) {
    while let held = handle.heldFrames.first, end.hasAcknowledged(held.position) {
      handle.heldFrames.removeFirst()
      let token = held.cell.assumingMemoryBound(to: FrameState.self).pointee.token
      SendFrame.recycle(held.cell)
      ended(token, held.isCopied ? 1 : 0)
    }
  }

  public func sendProgress(_ socket: Descriptor) -> Int {
    let handle = known(socket)
    guard case .stream(let end) = handle.thing else { return 0 }
    if let relay = handle.relayTo { return relay.written - end.unacknowledged }
    guard let cell = handle.sendCell else { return 0 }
    return cell.assumingMemoryBound(to: FrameState.self).pointee.sent - end.unacknowledged
  }

  public mutating func expediteSends() {
    if !quietSends.isEmpty || !deferredSends.isEmpty { expedited = true }
  }
}

/// A zero-copy send whose memory is still in use.
struct SimulatedHeldFrame {
  let cell: UnsafeMutableRawPointer
  /// It is free once the other side has this many bytes of the connection.
  let position: Int
  let isCopied: Bool
}
