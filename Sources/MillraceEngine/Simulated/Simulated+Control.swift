// Time, cancellation, polls of foreign descriptors, and messages between engines.

import CLinux
import Glibc

extension Simulated {
  /// A place for a control operation; nil: all are taken, which ends it (counted).
  mutating func control(_ token: Token, _ kind: SimulatedControl.Kind) -> SimulatedControl? {
    statistics.operationsInFlight += 1
    world.note(.control, token.rawValue, Int64(controls.count))
    guard controls.count < options.controlOperations else {
      statistics.operationsRefused += 1
      fail(token, -ENOBUFS)
      return nil
    }
    let control = SimulatedControl(token, kind)
    control.chain = beginning
    controls.append(control)
    return control
  }

  mutating func controlEnded(_ control: SimulatedControl, _ result: Int32) {
    guard !control.isOver else { return }
    control.isOver = true
    controls.removeAll { $0 === control }
    ended(control.token, result)
    var hasSucceeded = result >= 0
    if case .timeout = control.kind, result == -ETIME { hasSucceeded = true }
    advance(control.chain, hasSucceeded)
  }

  public mutating func nop(_ token: Token) {
    if isStep(token, { $0.nop(token) }) { return }
    guard let control = control(token, .plain) else { return }
    inbox.finished(.control(control, 0))
  }

  public mutating func timeout(at deadline: Int64, _ token: Token) {
    if isStep(token, { $0.timeout(at: deadline, token) }) { return }
    guard let control = control(token, .timeout) else { return }
    // One that is centuries away ends by being cancelled.
    guard deadline <= Int64.max / 2 else { return }
    world.schedule(deadline) { [inbox] in
      if !control.isOver { inbox.finished(.control(control, -ETIME)) }
    }
  }

  // MARK: Cancellation

  public mutating func cancel(_ token: Token) {
    refuseInChain()
    world.note(.stop, token.rawValue, -1)
    cancelSteps { $0.token == token }
    for number in openNumbers { cancel(number, token) }
    for control in controls where control.token == token { cancel(control) }
  }

  public mutating func cancelAll(_ descriptor: Descriptor) {
    refuseInChain()
    world.note(.stop, UInt64(UInt32(bitPattern: descriptor.rawValue)), -2)
    // Of a step that is about no descriptor it is `none`.
    guard descriptor.isValid else { return }
    cancelSteps { $0.descriptor == descriptor }
    cancel(descriptor.rawValue, nil)
    for control in controls {
      switch control.kind {
      case .poll(let foreign) where foreign.descriptor == descriptor.rawValue: cancel(control)
      case .splice(let from, let to, _)
      where from == descriptor.rawValue || to == descriptor.rawValue:
        cancel(control)
      default: break
      }
    }
  }

  /// Every number behind which something is, in order.
  private var openNumbers: [Int32] {
    handles.indices.filter { handles[$0] != nil }.map { Int32($0) }
      + slots.handles.indices.filter { slots.handles[$0] != nil }.map {
        Descriptor(slot: $0).rawValue
      }
  }

  /// Ends what is in flight on a descriptor, if it has the token. - Parameter token: nil: any.
  private mutating func cancel(_ number: Int32, _ token: Token?) {
    guard let handle = handle(number) else { return }
    let descriptor = Descriptor(rawValue: number)
    func isMeant(_ other: Token) -> Bool { token == nil || token == other }
    if handle.receiving != nil && isMeant(handle.receiveToken) { stopReceiving(descriptor) }
    if handle.isAccepting && isMeant(handle.setupToken) { stopAccepting(descriptor) }
    if handle.isConnecting && isMeant(handle.setupToken) { cancelConnect(descriptor) }
    if let cell = handle.sendCell,
      isMeant(cell.assumingMemoryBound(to: FrameState.self).pointee.token)
    {
      cancelSend(handle)
    }
    if let relay = handle.relayFrom, isMeant(relay.token) { stopRelay(from: descriptor) }
    if token == nil, let relay = handle.relayTo {
      stopRelay(from: Descriptor(rawValue: relay.source))
    }
  }

  private mutating func cancel(_ control: SimulatedControl) {
    switch control.kind {
    case .poll(let foreign): foreign.stopWaiting()
    case .plain, .message: return
    case .timeout, .splice: break
    }
    controlEnded(control, -ECANCELED)
  }

  // MARK: Beside other loops

  public mutating func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token) {
    refuseInChain()
    guard let found = world.network.foreign[foreign] else {
      guard let control = control(token, .plain) else { return }
      return inbox.finished(.control(control, -EBADF))
    }
    precondition(found.waiting == nil, "two polls of one descriptor")
    guard let control = control(token, .poll(found)) else { return }
    found.wait(for: events) { [inbox] ready in
      inbox.finished(.control(control, Int32(ready.rawValue)))
    }
  }

  /// A foreign descriptor of the world, which the poll of another engine there can wait for.
  public var pollDescriptor: Int32 { readiness.descriptor }

  // MARK: Between engines

  public mutating func post(
    _ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token
  ) {
    refuseInChain()
    guard let control = control(token, .message) else { return }
    inbox.finished(.control(control, mailbox.put(value, remoteToken)))
  }

  mutating func takeMessages() {
    _ = mailbox.takeAll(&messages)
    for message in messages {
      statistics.messages += 1
      queue.append(Completion(token: message.token, result: message.value))
    }
    messages.removeAll(keepingCapacity: true)
  }
}
