// Cancellation by token and by descriptor: each operation that matches is ended in the way of its own
// kind, and its terminal completion comes as any other.

import CLinux
import Glibc

extension Uring {
  public mutating func cancel(_ token: Token) {
    cancelWaitingSteps(with: token)
    for descriptor in 0..<Int32(sockets.highest.pointee) {
      cancel(on: descriptor) { $0 == token }
    }
    for slot in 0..<direct.count {
      cancel(on: Descriptor(slot: slot).rawValue) { $0 == token }
    }
    cancelControl { $0.pointee.token == token }
    cancelFiles { $0.pointee.token == token }
  }

  public mutating func cancelAll(_ descriptor: Descriptor) {
    let number = descriptor.rawValue
    // Of an operation that is about no descriptor the number is -1.
    guard number >= 0 && (!descriptor.isDirect || sockets.covers(number)) else { return }
    cancelWaitingSteps(on: number)
    // What is not the engine's (a polled descriptor, a file) may have any number.
    if sockets.covers(number) { cancel(on: number) { _ in true } }
    cancelControl {
      $0.pointee.descriptor == number
        || ($0.pointee.kind == .splice && $0.pointee.second == number)
    }
    cancelFiles { $0.pointee.descriptor == number }
  }

  private mutating func cancel(on descriptor: Int32, where matches: (Token) -> Bool) {
    let record = sockets[descriptor]
    let state = record.pointee.state
    guard state.contains(.open) else { return }
    let number = Descriptor(rawValue: descriptor)
    if !state.isDisjoint(with: .receiving) && matches(record.pointee.receiveToken) {
      stopReceiving(number)
    }
    if state.contains(.accepting) && !state.contains(.acceptingOne)
      && matches(record.pointee.setupToken)
    {
      stopAccepting(number)
    }
    if state.contains(.connecting) && matches(record.pointee.setupToken) {
      cancelConnect(number)
    }
    if state.contains(.relaySource)
      && matches(relays.relays[Int(record.pointee.receiveToken.rawValue)].token)
    {
      stopRelay(from: number)
    }
    guard let first = record.pointee.sendCell else { return }
    if state.contains(.relaySink) {
      let relay = first.assumingMemoryBound(to: Relay.self)
      if matches(relay.pointee.token) {
        stopRelay(from: Descriptor(rawValue: relay.pointee.source))
      }
    } else {
      cancelSends(first, where: matches)
    }
  }

  private mutating func cancelSends(
    _ first: UnsafeMutableRawPointer, where matches: (Token) -> Bool
  ) {
    var cell: UnsafeMutableRawPointer? = first
    while let one = cell {
      let state = one.assumingMemoryBound(to: FrameState.self)
      cell = state.pointee.next
      // Asked for again it is cancelled again: the kernel does not find one that it is just about to
      // go on with, nor a linked one whose turn has not come.
      guard matches(state.pointee.token) else { continue }
      if state.pointee.mode == .stream && !state.pointee.cancelled {
        cancelledSends.append(state.pointee.index)
      }
      state.pointee.cancelled = true
      cancel(Self.userData(.send, 0, state.pointee.index))
    }
  }

  mutating func cancelControl(
    where matches: (UnsafeMutablePointer<ControlOperation>) -> Bool
  ) {
    guard control.inUse > 0 else { return }
    for i in 0..<control.capacity {
      let slot = control.slots + i
      guard slot.pointee.inUse, slot.pointee.started, !slot.pointee.cancelled, matches(slot)
      else { continue }
      switch slot.pointee.kind {
      case .nop, .shutdown, .close, .message: continue
      case .acceptOne:
        sockets[slot.pointee.descriptor].pointee.state.insert(.stoppingAccept)
      case .timeout, .poll, .splice, .receive: break
      }
      slot.pointee.cancelled = true
      if slot.pointee.chain == Self.linked { linkedCancels += 1 }
      cancel(controlUserData(UInt32(i)))
    }
  }

  /// A cancellation may miss a send that the kernel is just about to go on with. It says so by a
  /// completion, and is made again in that turn.
  @inline(never)
  mutating func repeatSendCancels() {
    cancelledSends.removeAll {
      !frames.cell($0).assumingMemoryBound(to: FrameState.self).pointee.cancelled
    }
    for index in cancelledSends { cancel(Self.userData(.send, 0, index)) }
  }

  /// The kernel finds no step whose turn in its chain has not come: it is asked again in each turn
  /// until the step has ended.
  @inline(never)
  mutating func repeatLinkedCancels() {
    for i in 0..<control.capacity {
      let slot = control.slots + i
      guard slot.pointee.inUse, slot.pointee.cancelled, slot.pointee.chain == Self.linked
      else { continue }
      cancel(controlUserData(UInt32(i)))
    }
    for i in 0..<files.capacity {
      let slot = files.slots + i
      guard slot.pointee.inUse, !slot.pointee.hasEnded, slot.pointee.cancelled,
        slot.pointee.chain == Self.linked
      else { continue }
      cancel(Self.userData(.file, 0, UInt32(i)))
    }
  }

  private mutating func cancelFiles(
    where matches: (UnsafeMutablePointer<FileOperation>) -> Bool
  ) {
    guard files.inUse > 0 else { return }
    for i in 0..<files.capacity {
      let slot = files.slots + i
      guard slot.pointee.inUse, !slot.pointee.hasEnded, matches(slot) else { continue }
      if slot.pointee.isThreaded {
        // One that a thread has begun runs to its end.
        if threads?.withdraw(UInt32(i)) == true { fileOperationEnded(UInt32(i), -ECANCELED) }
        continue
      }
      if slot.pointee.chain == Self.linked && !slot.pointee.cancelled { linkedCancels += 1 }
      slot.pointee.cancelled = true
      cancel(Self.userData(.file, 0, UInt32(i)))
    }
  }
}
