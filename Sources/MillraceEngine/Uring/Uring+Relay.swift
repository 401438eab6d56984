// Relays: the steps are the engine's own system calls, which do not wait; for a side that is not
// ready the ring waits with a poll. (IORING_OP_SPLICE would give each to a worker thread.)

import CLinux
import Glibc

extension Uring {
  public mutating func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod,
    _ token: Token
  ) {
    precondition(!isMakingChain, "a relay cannot be a step of a chain")
    precondition(count >= 0)
    precondition(!source.isDirect && !sink.isDirect, "a relay of a direct descriptor")
    let from = sockets[source.rawValue]
    let to = sockets[sink.rawValue]
    precondition(
      from.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "a relay from a socket that is being read")
    precondition(to.pointee.sendCell == nil, "a relay to a socket that is being written")
    let (index, code) = relays.take(count, method, token)
    guard code == 0 else { return later.append(Completion(token: token, result: code)) }
    RelaySlab.ignoreBrokenPipes()
    let relay = relays.relays + Int(index)
    relay.pointee.source = source.rawValue
    relay.pointee.sink = sink.rawValue
    relay.pointee.sourceDescriptor = source.rawValue
    relay.pointee.sinkDescriptor = sink.rawValue
    // splice(2) out of a socket waits unless the file says not to.
    relay.pointee.sourceFlags = fcntl(source.rawValue, F_GETFL)
    _ = fcntl(source.rawValue, F_SETFL, relay.pointee.sourceFlags | O_NONBLOCK)
    statistics.systemCalls += 2
    from.pointee.receiveToken = Token(rawValue: UInt64(index))
    from.pointee.state.insert(.relaySource)
    to.pointee.sendCell = relays.pointer(index)
    to.pointee.state.insert(.relaySink)
    statistics.operationsInFlight += 1
    // The first run comes with the next turn.
    relay.pointee.waiting = .turn
    readyRelays.append(index)
  }

  public mutating func stopRelay(from source: Descriptor) {
    let record = sockets[source.rawValue]
    guard record.pointee.state.contains(.relaySource) else { return }
    let index = UInt32(record.pointee.receiveToken.rawValue)
    let relay = relays.relays + Int(index)
    guard !relay.pointee.cancelled else { return }
    relay.pointee.cancelled = true
    if relay.pointee.waiting != .turn { cancel(Self.userData(.relay, 0, index)) }
  }

  /// Gives each relay that has more to do its share of this turn.
  @inline(never)
  mutating func runReadyRelays() {
    for _ in 0..<readyRelays.count {
      let index = readyRelays.removeFirst()
      if relays.relays[Int(index)].cancelled {
        endRelay(index, -ECANCELED)
      } else {
        continueRelay(index)
      }
    }
  }

  /// The side that a relay waited for is ready, or the wait was cancelled.
  mutating func relayIsReady(_ index: UInt32, _ result: Int32) {
    if relays.relays[Int(index)].cancelled { return endRelay(index, -ECANCELED) }
    continueRelay(index)
  }

  private mutating func continueRelay(_ index: UInt32) {
    let relay = relays.relays + Int(index)
    switch relays.run(index, calls: &statistics.systemCalls) {
    case .ended(let result): endRelay(index, result)
    case .waits(let side):
      relay.pointee.waiting = side
      if relay.pointee.unreported > 0 {
        queue.append(
          Completion(
            token: relay.pointee.token, result: Int32(clamping: relay.pointee.unreported),
            more: true))
        relay.pointee.unreported = 0
      }
      if side == .turn { readyRelays.append(index) } else { wait(for: side, index) }
    }
  }

  private mutating func wait(for side: RelayWait, _ index: UInt32) {
    let relay = relays.relays + Int(index)
    let entry = self.entry()
    entry.pointee.opcode = UInt8(CLINUX_OP_POLL_ADD)
    entry.pointee.fd =
      side == .source ? relay.pointee.sourceDescriptor : relay.pointee.sinkDescriptor
    entry.pointee.op_flags = side == .source ? CLINUX_EPOLLIN : CLINUX_EPOLLOUT
    entry.pointee.user_data = Self.userData(.relay, 0, index)
  }

  private mutating func endRelay(_ index: UInt32, _ result: Int32) {
    let relay = relays.relays + Int(index)
    let from = sockets[relay.pointee.source]
    let to = sockets[relay.pointee.sink]
    statistics.systemCalls += 1
    _ = fcntl(relay.pointee.sourceDescriptor, F_SETFL, relay.pointee.sourceFlags)
    from.pointee.state.remove(.relaySource)
    to.pointee.state.remove(.relaySink)
    to.pointee.sendCell = nil
    statistics.operationsInFlight -= 1
    let last = result < 0 ? result : Int32(clamping: relay.pointee.unreported)
    queue.append(Completion(token: relay.pointee.token, result: last))
    relays.release(index)
  }
}
