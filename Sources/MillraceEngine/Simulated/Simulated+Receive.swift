// Receiving: a buffer is taken only when there is something to read, so an idle socket pins none.

import CLinux
import Glibc

extension Simulated {
  /// Small reads of one socket in a row before others get their turn.
  private static let readsInRow = 16

  public mutating func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    if openChain != nil {
      precondition(mode == .once, "a multishot receive cannot be a step of a chain")
      if isStep(token, { $0.receive(socket, mode, token) }, on: socket) { return }
    }
    guard let handle = handle(socket.rawValue) else { return refuse(token, -EBADF) }
    precondition(
      handle.receiving == nil && handle.relayFrom == nil, "two receives on one socket")
    world.note(.receive, token.rawValue, mode == .stream ? 0 : 1)
    handle.receiveToken = token
    handle.receiving = mode
    handle.receiveChain = beginning
    statistics.operationsInFlight += 1
    if case .stream(let end) = handle.thing, end.isReadable { inbox.mark(socket.rawValue) }
  }

  public mutating func stopReceiving(_ socket: Descriptor) {
    let handle = known(socket)
    guard handle.receiving != nil, !handle.stopsReceiving else { return }
    world.note(.stop, handle.receiveToken.rawValue, Int64(socket.rawValue))
    if world.dice.chance(world.conditions.slowCancellations) {
      handle.stopsReceiving = true
      inbox.mark(socket.rawValue)
    } else {
      endReceive(handle, -ECANCELED)
    }
  }

  mutating func endReceive(_ handle: SimulatedHandle, _ result: Int32) {
    let wasReset = result == 0 && handle.errorTaken
    let chain = handle.receiveChain
    handle.receiveChain = nil
    handle.receiving = nil
    handle.stopsReceiving = false
    handle.isStarved = false
    ended(handle.receiveToken, wasReset ? -ECONNRESET : result)
    advance(chain, result >= 0 && !wasReset)
  }

  /// - Parameter mayStarve: whether the dice may keep a buffer back; not twice in a row.
  mutating func serveReceive(
    _ number: Int32, _ handle: SimulatedHandle, _ end: SimulatedEnd, mayStarve: Bool = true
  ) {
    guard let mode = handle.receiving, !handle.isStarved || handle.stopsReceiving else { return }
    let reads = mode == .once ? 1 : Self.readsInRow
    var left = reads
    while left > 0, end.isReadable, handle.receiving != nil {
      // A stopped receive that waits for a buffer has nothing to be faster with.
      if !readPiece(number, handle, end, mode, mayStarve) { break }
      left -= 1
    }
    guard handle.receiving != nil else { return }
    if handle.stopsReceiving { return endReceive(handle, -ECANCELED) }
    if end.isReadable && !handle.isStarved { inbox.mark(number) }
  }

  /// - Returns: false when nothing more can be read now.
  private mutating func readPiece(
    _ number: Int32, _ handle: SimulatedHandle, _ end: SimulatedEnd, _ mode: ReceiveMode,
    _ mayStarve: Bool
  ) -> Bool {
    let isLarge = mode == .once
    if end.arrived.isEmpty {
      let result = end.read(into: UnsafeMutableRawBufferPointer(start: nil, count: 0))
      endReceive(handle, Int32(result))
      return false
    }
    let hasNone = mayStarve && world.dice.chance(world.conditions.starvation)
    guard !hasNone, let index = isLarge ? large.takeFree() : small.takeFree() else {
      if handle.stopsReceiving { return false }
      statistics.receivesStarved += 1
      handle.isStarved = true
      starved.append(number)
      return false
    }
    var size = (isLarge ? large.state : small.state).pointee.bufferSize
    if world.dice.chance(world.conditions.shortReceives) { size = 1 + world.dice.roll(size) }
    let base = isLarge ? large.address(of: index) : small.address(of: index)
    let room = UnsafeMutableRawBufferPointer(start: base, count: size)
    let count = end.read(into: room)
    world.note(
      .receive, handle.receiveToken.rawValue, Int64(count),
      world.trace.sum(UnsafeRawBufferPointer(rebasing: room[..<count])))
    var report = Completion(
      token: handle.receiveToken, result: Int32(count), more: !isLarge,
      buffer: isLarge ? large.report(index, count) : small.report(index, count))
    var chain: SimulatedChain?
    if isLarge {
      chain = handle.receiveChain
      handle.receiveChain = nil
      report.flags = Completion.largeFlag
      handle.receiving = nil
      handle.stopsReceiving = false
      statistics.operationsInFlight -= 1
    }
    queue.append(report)
    advance(chain, true)
    return true
  }

  /// Looks again after the receives that waited for a buffer, while there are buffers.
  mutating func serveStarved() {
    guard !starved.isEmpty else { return }
    let waiting = starved
    starved = []
    for number in waiting {
      guard let handle = handle(number), handle.isStarved else { continue }
      let needsSmall = handle.receiving == .stream && !handle.isDatagrams
      guard (needsSmall ? small.freeCount : large.freeCount) > 0 else {
        starved.append(number)
        continue
      }
      handle.isStarved = false
      switch handle.thing {
      case .stream(let end):
        serveReceive(number, handle, end, mayStarve: false)
        if let relay = handle.relayFrom { pump(relay) }
      case .datagrams(let socket): serveDatagrams(number, handle, socket, mayStarve: false)
      default: break
      }
    }
  }

  public mutating func takeSlice(_ completion: Completion) -> BufferSlice {
    precondition(completion.hasBytes, "a completion without bytes was redeemed")
    return completion.flags & Completion.largeFlag != 0
      ? large.redeem(completion) : small.redeem(completion)
  }

  public mutating func lease() -> BufferSlice? { large.lease() }

  public mutating func coldMemory(_ size: Int) -> BufferSlice {
    ColdMemory.allocate(size, ledger: small.state)
  }

  public var isLowOnBuffers: Bool {
    small.isLow || large.isLow || world.dice.chance(world.conditions.falseAlarms)
  }

  public mutating func frame() -> SendFrame? { frames.take() }
}
