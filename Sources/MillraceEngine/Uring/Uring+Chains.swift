// Chains. The kernel runs the steps (IOSQE_IO_LINK): all entries of a chain go into one submission,
// each but the last linked to the next, and what a break leaves ends with ECANCELED there. Where links
// are not used, or a limit is near, the engine runs the steps itself.
//
// No step is a quiet one (a skipped completion in a chain can hang, axboe/liburing#1235), and none is
// tried again: what would be, outside a chain, is a failure in it.
//
// TRAP: (file) the caller's order of calls, which no event changes: chains are made and closed by
// code in one go. A step's cell is set when the step is made.

import CLinux
import Glibc

/// The chain that is being made for the kernel to run.
struct ChainLinks {
  var isOpen = false
  var count = 0
  var last: UnsafeMutablePointer<clinux_sqe>?
}

extension Uring {
  /// In place of a chain's number: the kernel runs it.
  static let linked: Int32 = -2

  public mutating func beginChain() {
    precondition(!chainIsOpen, "a chain was begun inside a chain")
    // A step that found no slot would have to break a chain that the kernel has not seen yet.
    let hasSlots = control.capacity - control.inUse >= Chain.limit
    if use.contains(.linkedChains) && hasSlots && ring.sqEntries >= UInt32(Chain.limit) {
      makeRoomForChain()
      linking.isOpen = true
    } else {
      chains.begin()
    }
    chainIsOpen = true
  }

  public mutating func endChain() {
    precondition(chainIsOpen, "no chain is open")
    chainIsOpen = false
    if linking.isOpen {
      precondition(linking.count > 0, "a chain without a step")
      linking = ChainLinks()
    } else {
      launch(chains.finishMaking())
    }
  }

  /// The kernel takes a chain only whole: chains do not span submissions.
  private mutating func makeRoomForChain() {
    while ring.sqEntries - ring.pending < UInt32(Chain.limit) {
      statistics.submissionQueueFull += 1
      submitNow()
      // See `entryAfterSubmitting`.
      if ring.sqEntries - ring.pending < UInt32(Chain.limit) { takeCompletions() }
    }
  }

  /// An entry for an operation that may be a step of a chain.
  @inline(__always)
  mutating func stepEntry() -> UnsafeMutablePointer<clinux_sqe> {
    linking.isOpen ? linkedEntry() : entry()
  }

  @inline(never)
  private mutating func linkedEntry() -> UnsafeMutablePointer<clinux_sqe> {
    precondition(linking.count < Chain.limit, "a chain of more than Chain.limit steps")
    guard let entry = ring.nextEntry() else {
      preconditionFailure("no room for a chain that was begun with room")
    }
    linking.last?.pointee.flags |= UInt8(CLINUX_SQE_IO_LINK)
    linking.last = entry
    linking.count += 1
    return entry
  }

  // MARK: Steps that the engine runs

  mutating func start(_ step: ChainStep, of chain: Int32) {
    switch step.kind {
    case .file: issueFile(step.index)
    case .control:
      if step.index == .max {
        statistics.operationsInFlight -= 1
        queue.append(Completion(token: step.token, result: -ENOBUFS))
        stepEnded(chain, succeeded: false)
      } else {
        issue(step.index)
      }
    case .send: startSend(step)
    case .receive: engineBug("a receive that is no control operation")
    }
  }

  mutating func abandon(_ step: ChainStep) {
    // Control operations are counted by their slots.
    if step.kind != .control || step.index == .max { statistics.operationsInFlight -= 1 }
    switch step.kind {
    case .file: queue.append(files.finish(step.index, -ECANCELED))
    case .control, .receive:
      if step.index != .max { control.release(step.index) }
      queue.append(Completion(token: step.token, result: -ECANCELED))
    case .send:
      SendFrame.recycle(step.cell!)
      queue.append(Completion(token: step.token, result: -ECANCELED))
    }
  }

  // MARK: Receives

  /// A receive as a step has a slot of its own, so that a chain may have several on one socket.
  @inline(never)
  mutating func receiveStep(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    precondition(mode == .once, "of receives only .once can be a step of a chain")
    submit(.receive, token) { $0.pointee.descriptor = socket.rawValue }
  }

  mutating func stopReceiveSteps(_ socket: Int32) {
    cancelControl { $0.pointee.kind == .receive && $0.pointee.descriptor == socket }
  }

  mutating func receivedInChain(_ index: UInt32, _ completion: clinux_cqe) {
    let slot = control.slots + Int(index)
    var result = completion.res
    var buffer = Completion.noBuffer
    if completion.flags & UInt32(CLINUX_CQE_F_BUFFER) != 0 {
      buffer = completion.flags >> UInt32(CLINUX_CQE_BUFFER_SHIFT)
      largeRing.taken()
    }
    if result > 0 && buffer != Completion.noBuffer {
      chainedReceives -= 1
      return endControl(index, result, buffer: large.report(buffer, Int(result)))
    }
    if buffer != Completion.noBuffer { large.putBack(buffer) }
    if result == -EINTR || result == -EAGAIN {
      guard slot.pointee.chain == Self.linked || slot.pointee.cancelled else {
        return armControl(index)
      }
      result = -ECANCELED
    }
    if result == -ENOBUFS { statistics.receivesStarved += 1 }
    if result == 0 && sockets[slot.pointee.descriptor].pointee.state.contains(.errorTaken) {
      result = -ECONNRESET
    }
    chainedReceives -= 1
    endControl(index, result)
  }
}
