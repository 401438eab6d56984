import Glibc
import MillraceEngine
import Testing
import Transport

@Suite("A transport's life", .serialized)
struct TransportLifeTests {
  private func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
  }

  @Test("bytes pass in both directions, in both modes", arguments: TestedEngine.allCases)
  func bothWays(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      let content = pattern(300_000)
      pair.setMode(0, .once)
      for side in 0..<2 {
        check(pair.append(side, content) && pair.transport(side).pointee.unsent.count == 300_000)
        check(pair.flush(side) && pair.transport(side).pointee.outstanding == 300_000)
      }
      pair.turn(until: {
        pair.arm(0)
        pair.arm(1)
        return pair.received(0).count == 300_000 && pair.received(1).count == 300_000
      })
      #expect(pair.received(0) == content && pair.received(1) == content)
      pair.turn(until: { pair.sends(0).count == 1 && pair.sends(1).count == 1 })
      check(pair.transport(0).pointee.isIdle && pair.transport(1).pointee.isIdle)
    }
  }

  @Test(
    "a side ends behind what waits, and the other one goes on", arguments: TestedEngine.allCases)
  func ownEnd(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      check(pair.append(0, [1, 2, 3]))
      // What waits is in the way, and then what is in flight.
      #expect(!pair.endOwnSide(0))
      check(pair.flush(0))
      #expect(!pair.endOwnSide(0))
      pair.turn(until: { pair.sends(0).count == 1 })
      #expect(!pair.endOwnSide(0) && !pair.endOwnSide(0))
      pair.turn(until: {
        pair.arm(1)
        return pair.transport(1).pointee.readClosed
      })
      check(pair.received(1) == [1, 2, 3] && pair.transport(1).pointee.endResult == 0)
      check(pair.append(1, [4, 5]) && pair.flush(1))
      pair.turn(until: {
        pair.arm(0)
        return pair.received(0).count == 2 && pair.sends(1).count == 1
      })
      check(!pair.transport(0).pointee.readClosed && pair.transport(0).pointee.closing == .open)
    }
  }

  @Test(
    "one send is in flight at a time, and what comes meanwhile waits",
    arguments: TestedEngine.allCases)
  func oneSend(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      let t = pair.transport(0)
      #expect(!pair.flush(0))
      check(
        pair.append(0, [1, 2, 3]) && pair.flush(0) && pair.append(0, [4, 5]) && !pair.flush(0))
      check(t.pointee.outstanding == 5 && t.pointee.unsent.count == 2)
      check(t.pointee.send == .inFlight(bytes: 3, progress: .min))
      pair.turn(until: { pair.sends(0).count == 1 })
      check(pair.sends(0).result == 3 && t.pointee.send == .idle && pair.flush(0))
      pair.arm(1)
      pair.turn(until: { pair.received(1).count == 5 })
      #expect(pair.received(1) == [1, 2, 3, 4, 5])
      pair.turn(until: { pair.sends(0).count == 2 })
    }
  }

  @Test(
    "a receive that is stopped may be armed again, in another mode",
    arguments: TestedEngine.allCases)
  func modes(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      let t = pair.transport(1)
      pair.arm(1)
      pair.arm(1)
      check(t.pointee.receive == .armed(.stream))
      pair.setMode(1, .once)
      pair.stopReceiving(1)
      check(t.pointee.receive == .stopping && t.pointee.receiving)
      pair.arm(1)
      pair.turn(until: { !t.pointee.receiving })
      check(t.pointee.receive == .idle && !t.pointee.readClosed)
      pair.arm(1)
      check(t.pointee.receive == .armed(.once))
      check(pair.append(0, [7]) && pair.flush(0))
      pair.turn(until: { !t.pointee.receiving && pair.sends(0).count == 1 })
      check(pair.received(1) == [7] && t.pointee.receive == .idle)
    }
  }

  @Test(
    "nothing is received while it is paused or after the peer has finished",
    arguments: TestedEngine.allCases)
  func paused(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      let t = pair.transport(1)
      t.pointee.paused = true
      pair.arm(1)
      check(t.pointee.receive == .idle)
      t.pointee.paused = false
      t.pointee.peerHasFinished = true
      pair.arm(1)
      check(t.pointee.receive == .idle && t.pointee.readClosed && t.pointee.endResult == 0)
    }
  }

  @Test(
    "the end of the stream is the last thing that is received", arguments: TestedEngine.allCases)
  func endOfStream(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      check(pair.append(0, [9]) && pair.flush(0))
      pair.turn(until: { pair.sends(0).count == 1 })
      pair.transport(0).pointee.beginFlushing()
      pair.linger(0)
      let t = pair.transport(1)
      pair.turn(until: {
        pair.arm(1)
        return t.pointee.readClosed
      })
      check(pair.received(1) == [9] && t.pointee.receive == .ended(0) && t.pointee.endResult == 0)
      pair.arm(1)
      check(!t.pointee.receiving)
      // The other direction goes on: the side that lingers reads.
      check(pair.append(1, [8]) && pair.flush(1))
      pair.arm(0)
      pair.turn(until: { pair.received(0) == [8] && pair.sends(1).count == 1 })
    }
  }

  @Test("a join makes what is in flight complete", arguments: TestedEngine.allCases)
  func join(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      let t = pair.transport(0)
      pair.arm(0)
      // More than the kernel's buffers take, to a peer that does not read.
      check(pair.append(0, [UInt8](repeating: 5, count: 16_000_000)) && pair.flush(0))
      pair.turn(until: { t.pointee.sending })
      pair.join(0, resets: false)
      check(t.pointee.closing == .joining && !t.pointee.isJoined && t.pointee.deadline == .max)
      pair.turn(until: { t.pointee.isJoined })
      #expect(pair.sends(0).count == 1 && pair.sends(0).result < 0)
    }
  }

  @Test(
    "a join with a reset is seen as one, and not as an end of stream",
    arguments: TestedEngine.allCases)
  func reset(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      let (t, other) = (pair.transport(0), pair.transport(1))
      pair.arm(0)
      check(pair.append(0, [UInt8](repeating: 5, count: 16_000_000)) && pair.flush(0))
      pair.join(0, resets: true)
      pair.turn(until: { t.pointee.isJoined })
      pair.close(0)
      pair.turn(until: {
        pair.arm(1)
        return other.pointee.readClosed
      })
      check(other.pointee.endResult == -ECONNRESET)
    }
  }

  @Test(
    "a slow reader makes progress, and one that has stopped makes none",
    arguments: TestedEngine.allCases)
  func progress(_ engine: TestedEngine) throws {
    try engine.withPair { pair in
      #expect(!pair.hasProgressed(0))
      check(pair.append(0, [UInt8](repeating: 5, count: 16_000_000)) && pair.flush(0))
      // Until the kernel takes no more.
      var quiet = 0
      pair.turn(until: {
        quiet = pair.hasProgressed(0) ? 0 : quiet + 1
        return quiet > 50
      })
      pair.arm(1)
      pair.turn(until: { pair.received(1).count > 8_000_000 })
      check(pair.hasProgressed(0) || pair.sends(0).count == 1)
      pair.turn(until: {
        pair.arm(1)
        return pair.received(1).count == 16_000_000 && pair.sends(0).count == 1
      })
      #expect(!pair.hasProgressed(0))
    }
  }

  @Test("the ladder is only walked down, and each step only from those before it")
  func ladder() {
    let steps: [ClosingStep] = [.open, .flushing, .resetting, .lingering, .joining]
    let allowed: [[Bool]] = [
      [false, true, true, false, true],
      [false, false, false, true, true],
      [false, false, false, false, true],
      [false, false, false, false, true],
      [false, false, false, false, false],
    ]
    for (i, step) in steps.enumerated() {
      #expect(steps.map { step.allows($0) } == allowed[i])
    }
  }
}
