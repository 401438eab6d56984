// The simulated world itself: that a seed is a run, that its network and its disk promise what the
// real ones promise and no more, and that a loop which would sleep for ever is caught. That its
// engine keeps the contract is shown where the contract is.

import CLinux
import Glibc
import MillraceEngine
import Testing

@Suite struct SimulatedWorldTests {
  // MARK: A seed is a run

  @Test func oneSeedGivesOneTraceAndAnotherGivesAnother() {
    var hashes: Set<UInt64> = []
    for seed in UInt64(1)...60 {
      let first = StressTest.run(seed)
      let second = StressTest.run(seed)
      #expect(first.hash == second.hash, "seed \(seed): two runs differ")
      #expect(first.events == second.events)
      hashes.insert(first.hash)
    }
    #expect(hashes.count == 60)
  }

  @Test func whateverTheConditionsEverythingEndsOnceAndEveryByteIsRight() {
    var total = StressTest.Account()
    for seed in UInt64(100)...300 {
      let account = StressTest.run(seed)
      #expect(account.problems == [], "seed \(seed)")
      total.add(account)
    }
    // The worlds were rough, and things did happen in them.
    #expect(total.connections > 1000 && total.resets > 20 && total.refusals > 20)
    #expect(total.bytes > 10_000_000 && total.starved > 100 && total.short > 100)
  }

  @Test func opaqueContentStaysOutOfTheTraceAndItsLengthDoesNot() {
    func hash(_ text: String, isOpaque: Bool) -> UInt64 {
      let bench = Bench(seed: 5)
      bench.world.trace.isContentOpaque = isOpaque
      let (socket, peer) = bench.connection()
      peer.send(Array(text.utf8))
      bench.engine.receive(socket, .once, Token(rawValue: 7))
      bench.turn(until: { bench[7].ending != nil })
      bench.engine.close(socket)
      return bench.world.trace.hash
    }
    #expect(hash("secret", isOpaque: true) == hash("public", isOpaque: true))
    #expect(hash("secret", isOpaque: true) != hash("secret!", isOpaque: true))
    #expect(hash("secret", isOpaque: false) != hash("public", isOpaque: false))
  }

  @Test func theTailOfTheTraceNamesWhatHappenedLast() {
    let bench = Bench(seed: 6)
    bench.engine.nop(Token(rawValue: 0xABC))
    bench.turn(until: { bench[0xABC].ending != nil })
    bench.world.trace.note("a word of the test", at: bench.world.now)
    let tail = bench.world.trace.tail
    #expect(tail.contains("completion abc 0") && tail.contains("a word of the test"))
  }

  @Test func theDiceAreFairEnoughAndTheirOwnSeedsAlone() {
    var dice = SimulatedDice(seed: 42)
    var again = SimulatedDice(seed: 42)
    var counts = Array(repeating: 0, count: 6)
    for _ in 0..<60_000 {
      let side = dice.roll(6)
      #expect(side == again.roll(6))
      counts[side] += 1
    }
    #expect(counts.allSatisfy { abs($0 - 10_000) < 500 }, "\(counts)")
    let before = dice.next()
    var other = SimulatedDice(seed: 0)
    #expect(!other.chance(0) && other.chance(1000))
    #expect(before != other.next())
  }

  // MARK: Time

  @Test func aWaitThatNothingCanEndTraps() async {
    await #expect(processExitsWith: .failure) {
      let bench = Bench(seed: 1)
      bench.engine.wait(until: nil)
    }
  }

  @Test func theSameWaitWithSomethingToComeDoesNotTrap() {
    let bench = Bench(seed: 1)
    let start = bench.world.now
    let waker = bench.engine.waker
    bench.world.after(1_000_000_000_000) { waker.wake() }
    bench.engine.wait(until: nil)
    #expect(bench.world.now >= start + 1_000_000_000_000)
    #expect(bench.world.idle())
  }

  @Test func aDeadlineIsReachedAndNotPassedByMuch() {
    let bench = Bench(seed: 2)
    for ahead in [1, 1000, 1_000_000_000, 3_600_000_000_000] as [Int64] {
      let deadline = bench.world.now + ahead
      bench.engine.wait(until: deadline)
      #expect(bench.engine.now >= deadline && bench.engine.now < deadline + 10_000)
    }
  }

  @Test func thingsHappenInTheOrderOfTheirTimesAndThenOfTheirMaking() {
    let world = SimulatedWorld(seed: 3)
    var order: [Int] = []
    for (i, delay) in [50, 10, 10, 30, 10, 0].enumerated() {
      world.after(Int64(delay)) { order.append(i) }
    }
    world.advance(by: 40)
    #expect(order == [5, 1, 2, 4, 3])
    world.advance(by: 10)
    #expect(order == [5, 1, 2, 4, 3, 0] && world.idle())
  }

  // MARK: The network

  @Test func aPeerThatNobodyReadsFromIsHeldBack() {
    let bench = Bench(seed: 4)
    let (socket, peer) = bench.connection()
    var sent = 0
    for _ in 0..<200 {
      sent += peer.send(pattern(65_536))
      bench.turn()
    }
    let c = bench.world.conditions
    #expect(sent >= c.receiveRoom.lowerBound && sent <= c.receiveRoom.upperBound * 2 + 65_536)
    #expect(peer.send([1]) == 0)
    var isWritable = false
    peer.onEvent = { _, event in if event == .writable { isWritable = true } }
    bench.engine.receive(socket, .stream, Token(rawValue: 1))
    bench.turn(until: { bench[1].bytes.count == sent })
    #expect(isWritable)
    bench.close(socket, 1)
  }

  @Test func aSendToAPeerThatHasVanishedEndsOnlyByOwnDoing() {
    let bench = Bench(seed: 7)
    let (socket, peer) = bench.connection()
    peer.vanish()
    bench.engine.receive(socket, .stream, Token(rawValue: 1))
    bench.send(socket, pattern(4 << 20), 2)
    bench.pass(seconds: 3600)
    #expect(bench[1].ending == nil && bench[2].ending == nil, "nobody can know that it is gone")
    bench.engine.shutdown(socket, .both)
    bench.turn(until: { bench[1].ending == 0 && bench[2].ending == -EPIPE })
    bench.engine.close(socket)
  }

  @Test func tinySegmentsKeepTheOrderOfTheBytes() {
    var conditions = SimulatedConditions.calm
    conditions.segmentBytes = 1...7
    conditions.latency = 1000...10_000_000
    conditions.latencySpikes = 100
    conditions.coalescing = 300
    let bench = Bench(seed: 8, conditions)
    let (socket, peer) = bench.connection()
    peer.send(pattern(5000))
    peer.finishSending()
    bench.engine.receive(socket, .stream, Token(rawValue: 1))
    bench.turn(until: { bench[1].ending == 0 })
    #expect(bench[1].bytes == pattern(5000))
    bench.send(socket, pattern(3000), 2)
    bench.turn(until: { bench[2].ending == 3000 })
    bench.engine.close(socket)
    var got: [UInt8] = []
    bench.turn(until: {
      got += peer.receive()
      return peer.hasEnded
    })
    #expect(got == pattern(3000))
  }

  @Test func aResetThatOvertakesLosesWhatIsUnderWayAndOneInOrderDoesNot() {
    func received(overtaking: Int) -> (Int, Int32?) {
      var conditions = SimulatedConditions.calm
      conditions.overtakingResets = overtaking
      // Each segment later than the one before, so that a reset has something to overtake.
      conditions.segmentBytes = 100...100
      conditions.latency = 1000...1_000_000
      let bench = Bench(seed: 9, conditions)
      let (socket, peer) = bench.connection()
      bench.engine.receive(socket, .stream, Token(rawValue: 1))
      peer.send(pattern(20_000))
      peer.reset()
      bench.turn(until: { bench[1].ending != nil })
      #expect(bench[1].bytes == Array(pattern(20_000)[..<bench[1].bytes.count]))
      bench.engine.close(socket)
      return (bench[1].bytes.count, bench[1].ending)
    }
    let (lost, first) = received(overtaking: 1000)
    #expect(lost < 20_000 && first == -ECONNRESET)
    let (kept, second) = received(overtaking: 0)
    #expect(kept == 20_000 && second == -ECONNRESET)
  }

  @Test func unreadBytesMakeACloseAResetAndReadOnesDoNot() {
    for isRead in [false, true] {
      let bench = Bench(seed: 10)
      let (socket, peer) = bench.connection()
      var events: [SimulatedPeer.Event] = []
      peer.onEvent = { _, event in events.append(event) }
      peer.send([1, 2, 3])
      bench.pass(seconds: 1)
      if isRead {
        bench.engine.receive(socket, .once, Token(rawValue: 1))
        bench.turn(until: { bench[1].ending == 3 })
      }
      bench.engine.close(socket)
      bench.pass(seconds: 1)
      #expect(events == [isRead ? .ended : .reset])
    }
  }

  @Test func anAddressRefusesHangsOrTakesItsTime() {
    let bench = Bench(seed: 11)
    let address = SocketAddress(10, 0, 0, 2, port: 80)
    var accepted = 0
    bench.world.listen(address) { _ in accepted += 1 }
    func connect(_ key: UInt64) -> Descriptor? {
      try? bench.engine.connect(address, Token(rawValue: key))
    }
    bench.world.setConnectBehaviour(address, .refuse)
    let refused = connect(1)
    bench.turn(until: { bench[1].ending == -ECONNREFUSED })
    bench.world.setConnectBehaviour(address, .delay(5_000_000_000))
    let start = bench.world.now
    let late = connect(2)
    bench.turn(until: { bench[2].ending == 0 })
    #expect(bench.world.now - start >= 5_000_000_000)
    bench.world.setConnectBehaviour(address, .hang)
    let hanging = connect(3)
    bench.pass(seconds: 30)
    #expect(bench[3].ending == nil)
    // As long as the retransmissions of Linux last: 1 + 2 + … + 64 s.
    bench.pass(seconds: 120)
    #expect(bench[3].ending == -ETIMEDOUT)
    bench.world.setConnectBehaviour(address, .normal)
    bench.world.stopListening(address)
    let gone = connect(4)
    bench.turn(until: { bench[4].ending == -ECONNREFUSED })
    #expect(accepted == 1)
    for socket in [refused, late, hanging, gone] { bench.engine.close(socket!) }
  }

  @Test func completionsOfDifferentSocketsComeInAnyOrderAndThoseOfOneInTheirs() {
    var orders: Set<[UInt64]> = []
    for seed in UInt64(1)...20 {
      var conditions = SimulatedConditions.calm
      conditions.reordering = 1000
      conditions.latency = 1000...1000
      let bench = Bench(seed: seed, conditions)
      let pairs = (0..<8).map { _ in bench.connection() }
      for (i, pair) in pairs.enumerated() {
        bench.engine.receive(pair.0, .stream, Token(rawValue: UInt64(i + 1)))
        pair.1.send(pattern(20_000))
      }
      bench.turn(until: { (1...8).allSatisfy { bench[UInt64($0)].bytes.count == 20_000 } })
      for i in 1...8 { #expect(bench[UInt64(i)].bytes == pattern(20_000)) }
      var seen: Set<UInt64> = []
      orders.insert(bench.arrivals.filter { seen.insert($0).inserted })
      for (i, pair) in pairs.enumerated() { bench.close(pair.0, UInt64(i + 1)) }
    }
    #expect(orders.count > 15, "the order was nearly always the same")
  }

  @Test func aSendIsReportedBeforeItsAnswerWhateverTheConditions() {
    for seed in UInt64(1)...100 {
      var dice = SimulatedDice(seed: seed)
      var conditions = SimulatedConditions.drawn(from: &dice)
      conditions.resets = 0
      conditions.refusals = 0
      conditions.acceptAborts = 0
      conditions.acceptExhaustions = 0
      let bench = Bench(seed: seed, conditions)
      let (socket, peer) = bench.connection()
      peer.onEvent = { peer, event in
        if event == .readable { peer.send(peer.receive()) }
      }
      bench.engine.receive(socket, .stream, Token(rawValue: 1))
      for round in 0..<10 {
        let key = UInt64(10 + round)
        let sum = (0...round).reduce(0) { $0 + 100 + 400 * $1 }
        bench.watch = { [unowned bench] completion in
          guard completion.token.rawValue == 1, completion.hasBytes,
            bench[1].bytes.count + Int(completion.result) == sum
          else { return }
          #expect(bench[key].ending != nil, "seed \(seed): the whole echo came before its send")
        }
        bench.send(
          socket, pattern(100 + 400 * round), key, dice.chance(500) ? .quiet : .awaited)
        bench.turn(until: { bench[1].bytes.count == sum })
      }
      bench.watch = nil
      bench.close(socket, 1)
    }
  }

  @Test func datagramsAreLostDoubledAndDelayedInTheirShare() {
    var conditions = SimulatedConditions.calm
    conditions.datagramLoss = 100
    conditions.datagramDuplicates = 50
    conditions.datagramDelays = 200
    let world = SimulatedWorld(seed: 12, conditions)
    let from = world.datagrams(at: SocketAddress(10, 0, 0, 1, port: 1))
    let to = world.datagrams(at: SocketAddress(10, 0, 0, 2, port: 2))
    var got: [Int] = []
    to.onArrival = { peer in
      while let datagram = peer.receive() {
        got.append(Int(datagram.bytes[0]) << 8 | Int(datagram.bytes[1]))
      }
    }
    for i in 0..<2000 {
      from.send([UInt8(i >> 8), UInt8(i & 255)], to: to.address)
      world.advance(by: 100_000)
    }
    world.advance(by: 10_000_000_000)
    let distinct = Set(got)
    #expect((1700...1900).contains(distinct.count), "\(distinct.count) of 2000 arrived")
    #expect((40...180).contains(got.count - distinct.count))
    #expect(got != got.sorted())
    to.onArrival = nil
  }
}
