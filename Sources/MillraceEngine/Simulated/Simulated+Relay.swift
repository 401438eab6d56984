// Relaying: bytes go from one connection to another, at most a pipe's worth ahead of the sink.

import CLinux
import Glibc

/// A relay in flight.
final class SimulatedRelay {
  let token: Token
  let source: Int32
  let sink: Int32
  let copies: Bool
  /// Bytes still to be read.
  var left: Int
  /// Read and not yet written.
  var between = ByteQueue()
  let room: Int
  /// Written since the last completion.
  var moved = 0
  /// Written in all.
  var written = 0
  var inputHasEnded = false
  /// Nothing more is read.
  var finishing = false

  init(_ token: Token, _ source: Int32, _ sink: Int32, count: Int, room: Int, copies: Bool) {
    self.token = token
    self.source = source
    self.sink = sink
    self.room = room
    self.copies = copies
    left = count
  }
}

extension Simulated {
  public mutating func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod,
    _ token: Token
  ) {
    refuseInChain()
    precondition(count >= 0)
    let from = known(source)
    let to = known(sink)
    precondition(
      from.receiving == nil && from.relayFrom == nil, "a relay beside a receive of its source")
    precondition(to.sendCell == nil && to.relayTo == nil, "a relay beside a send of its sink")
    world.note(.relay, token.rawValue, Int64(count))
    guard relays < options.relays else {
      statistics.operationsRefused += 1
      return refuse(token, -ENOBUFS)
    }
    relays += 1
    statistics.operationsInFlight += 1
    let copies =
      method == .copy || (method == .automatic && world.dice.chance(500))
    let relay = SimulatedRelay(
      token, source.rawValue, sink.rawValue, count: count,
      room: copies ? RelaySlab.bufferBytes : options.relayPipeBytes, copies: copies)
    from.relayFrom = relay
    to.relayTo = relay
    inbox.mark(source.rawValue)
  }

  public mutating func stopRelay(from source: Descriptor) {
    guard let relay = handle(source.rawValue)?.relayFrom else { return }
    world.note(.stop, relay.token.rawValue, Int64(source.rawValue))
    endRelay(relay, -ECANCELED)
  }

  public mutating func finishRelay(from source: Descriptor) {
    guard let relay = handle(source.rawValue)?.relayFrom else { return }
    world.note(.stop, relay.token.rawValue, Int64(source.rawValue))
    relay.finishing = true
    if relay.between.isEmpty { endRelay(relay, -ECANCELED) }
  }

  private mutating func endRelay(
    _ relay: SimulatedRelay, _ result: Int32, atSink: Bool = false
  ) {
    handle(relay.source)?.relayFrom = nil
    handle(relay.sink)?.relayTo = nil
    relays -= 1
    if result < 0 { report(relay) }
    ended(relay.token, result, flags: atSink ? Completion.sinkFlag : 0)
  }

  private mutating func report(_ relay: SimulatedRelay) {
    guard relay.moved > 0 else { return }
    queue.append(
      Completion(token: relay.token, result: Int32(clamping: relay.moved), more: true))
    relay.moved = 0
  }

  /// Moves what can be moved now.
  mutating func pump(_ relay: SimulatedRelay) {
    guard let from = handle(relay.source), from.relayFrom === relay, let to = handle(relay.sink),
      case .stream(let source) = from.thing, case .stream(let sink) = to.thing
    else { return }
    var goesOn = true
    while goesOn {
      goesOn = false
      if relay.left > 0 && !relay.inputHasEnded && !relay.finishing
        && relay.between.count < relay.room
      {
        let got = fill(relay, source)
        if got < 0 && got != -Int(EAGAIN) { return endRelay(relay, Int32(got)) }
        if got == 0 {
          // A send of ours has heard of the reset before.
          if from.errorTaken { return endRelay(relay, -ECONNRESET) }
          relay.inputHasEnded = true
        }
        if relay.copies && got > 0 { statistics.bytesCopied += got }
        goesOn = got > 0
      }
      if !relay.between.isEmpty {
        let put = relay.between.consume(atMost: .max) { sink.write($0) }
        if put < 0 && put != -Int(EAGAIN) {
          if put != -Int(EPIPE) { to.errorTaken = true }
          return endRelay(relay, Int32(put), atSink: true)
        }
        if put > 0 {
          if relay.copies { statistics.bytesCopied += put }
          relay.moved += put
          relay.written += put
        }
        goesOn = goesOn && put > 0
      }
    }
    if relay.between.isEmpty && (relay.left == 0 || relay.inputHasEnded) {
      return endRelay(relay, Int32(clamping: relay.moved))
    }
    if relay.between.isEmpty && relay.finishing { return endRelay(relay, -ECANCELED) }
    report(relay)
  }

  private func fill(_ relay: SimulatedRelay, _ source: SimulatedEnd) -> Int {
    let length = min(relay.left, relay.room - relay.between.count, 65_536)
    return withUnsafeTemporaryAllocation(byteCount: length, alignment: 1) { room in
      let got = source.read(into: room)
      guard got > 0 else { return got }
      relay.between.append(UnsafeRawBufferPointer(rebasing: room[..<got]))
      if relay.left != .max { relay.left -= got }
      return got
    }
  }
}
