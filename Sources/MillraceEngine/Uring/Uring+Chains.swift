// Chains: entries that the kernel links (IOSQE_IO_LINK), taken whole in one submission; or, without
// its links, steps that the engine starts one after another.

import CLinux
import Glibc

extension Uring {
  /// True between `beginChain` and `endChain`.
  @inline(__always)
  var isMakingChain: Bool { linkedCount >= 0 || chains.isOpen }

  public mutating func beginChain() {
    precondition(!isMakingChain, "a chain was begun inside a chain")
    guard linksChains else { return chains.begin() }
    // The kernel ends a chain where a submission ends: the queue must have room for all of it.
    while ring.sqEntries - ring.pending < UInt32(Chain.limit) { makeRoom() }
    linked = nil
    linkedCount = 0
  }

  public mutating func endChain() {
    guard linksChains else { return launch(chains.finishMaking()) }
    precondition(linkedCount >= 0, "no chain was begun")
    linked = nil
    linkedCount = -1
  }

  /// Adds an entry to the kernel's chain that is being made.
  @inline(never)
  mutating func link(_ entry: UnsafeMutablePointer<clinux_sqe>) {
    precondition(linkedCount < Chain.limit, "a chain of more than Chain.limit steps")
    if let linked { linked.pointee.flags |= UInt8(CLINUX_SQE_IO_LINK) }
    linked = entry
    linkedCount += 1
  }

  // MARK: Steps that need more than an entry

  /// A receive as a step. Its record may be a slot's in which nothing is open yet.
  @inline(never)
  mutating func addReceive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    precondition(mode == .once, "of receives only .once can be a step of a chain")
    statistics.operationsInFlight += 1
    let step = ChainStep(
      kind: .receive, index: 0, cell: nil, descriptor: socket.rawValue, token: token)
    if linksChains { startReceive(step) } else { _ = chains.append(step) }
  }

  mutating func startReceive(_ step: ChainStep) {
    let record = sockets[step.descriptor]
    precondition(
      record.pointee.state.isDisjoint(with: [.receiving, .relaySource]),
      "two receives on one socket")
    record.pointee.receiveToken = step.token
    record.pointee.state.formUnion([.receivingOnce, .receiveChained])
    armReceive(step.descriptor, record)
  }

  @inline(never)
  mutating func receiveStepEnded(
    _ record: UnsafeMutablePointer<SocketRecord>, succeeded: Bool
  ) {
    guard !linksChains else { return }
    let chain = chains.running(receiveOn: sockets.descriptor(of: record))
    if chain >= 0 { stepEnded(chain, succeeded: succeeded) }
  }

  @inline(never)
  mutating func addSend(_ cell: UnsafeMutableRawPointer, _ socket: Descriptor, _ token: Token) {
    statistics.operationsInFlight += 1
    let step = ChainStep(
      kind: .send, index: 0, cell: cell, descriptor: socket.rawValue, token: token)
    if linksChains {
      startSend(step)
    } else {
      cell.assumingMemoryBound(to: FrameState.self).pointee.chain = chains.append(step)
    }
  }

  mutating func startSend(_ step: ChainStep) {
    let record = sockets[step.descriptor]
    precondition(record.pointee.sendCell == nil, "two sends on one socket")
    record.pointee.sendCell = step.cell
    submitSend(step.cell!, flags: Self.wholeFlags, quiet: false)
  }

  // MARK: Chains that the engine runs

  mutating func start(_ step: ChainStep, of chain: Int32) {
    switch step.kind {
    case .file: startFile(step)
    case .control:
      if step.index == .max {
        statistics.operationsInFlight -= 1
        queue.append(Completion(token: step.token, result: -ENOBUFS))
        stepEnded(chain, succeeded: false)
      } else {
        startControl(step.index)
      }
    case .send: startSend(step)
    case .receive: startReceive(step)
    }
  }

  mutating func abandon(_ step: ChainStep) {
    let isCounted = step.kind != .control || step.index == .max
    if isCounted { statistics.operationsInFlight -= 1 }
    switch step.kind {
    case .file: queue.append(files.finish(step.index, -ECANCELED))
    case .control:
      if step.index != .max { control.release(step.index) }
      queue.append(Completion(token: step.token, result: -ECANCELED))
    case .send:
      SendFrame.recycle(step.cell!)
      queue.append(Completion(token: step.token, result: -ECANCELED))
    case .receive:
      queue.append(Completion(token: step.token, result: -ECANCELED))
    }
  }
}
