// Every way in which a request can go wrong, provoked: each is counted once, under its own name, and
// the sums hold. In a simulated world; LoadEngineTests does the same with real sockets.

import MillraceEngine
import Testing

@testable import Lab

@Suite("Failures of requests")
struct LoadFailureTests {
  /// Answers every n-th request of the run in a way of its own, and the others well.
  private func run(
    _ plan: LoadPlan, every: Int = 10, seed: UInt64 = 1,
    _ misbehave: @escaping (SimulatedService) -> Void
  ) throws -> (outcome: LoadOutcome, bad: Int) {
    var count = 0
    var bad = 0
    let outcome = try LoadWorld.run(plan, seed: seed) { service, _ in
      count += 1
      if count % every == 0 {
        bad += 1
        misbehave(service)
      } else {
        service.respond()
      }
    }
    LoadWorld.checkSums(outcome)
    return (outcome, bad)
  }

  private func expectOnly(
    _ kind: String, _ plan: LoadPlan = LoadWorld.plan(.constant(rate: 500), connections: 20),
    _ misbehave: @escaping (SimulatedService) -> Void
  ) throws {
    let (outcome, bad) = try run(plan, misbehave)
    #expect(bad > 40)
    #expect(outcome.result.failures == [kind: bad])
    #expect(outcome.result.examples[kind] != nil)
    #expect(outcome.result.completed == 500 - bad)
  }

  @Test("a reset before the response") func reset() throws {
    try expectOnly("reset") { $0.peer.reset() }
  }

  @Test("a reset within the content") func resetWithin() throws {
    try expectOnly("reset") { service in
      service.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
      service.world.after(1_000_000) { service.peer.reset() }
    }
  }

  @Test("an end before the response") func closed() throws {
    try expectOnly("closed") { $0.peer.close() }
  }

  @Test("an end within the head, within the content, within a chunk") func closedWithin() throws {
    for text in [
      "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ] {
      try expectOnly("closed") { service in
        service.say(text)
        service.peer.finishSending()
      }
    }
  }

  @Test("no response in time") func timeout() throws {
    var plan = LoadWorld.plan(.constant(rate: 500), connections: 100)
    plan.timeoutNanoseconds = 200_000_000
    try expectOnly("timeout", plan) { _ in }
  }

  @Test("half a response in time") func timeoutWithin() throws {
    var plan = LoadWorld.plan(.constant(rate: 500), connections: 100)
    plan.timeoutNanoseconds = 200_000_000
    try expectOnly("timeout", plan) {
      $0.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    }
  }

  @Test("what is no HTTP") func protocolGarbage() throws {
    for text in [
      "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
      "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    ] {
      try expectOnly("protocol") { $0.say(text) }
    }
  }

  @Test("a status that is no success") func status() throws {
    try expectOnly("status") { $0.respond(status: 503) }
    var plan = LoadWorld.plan(.constant(rate: 500), connections: 20)
    plan.requests[0].expectedStatus = 200
    try expectOnly("status", plan) { $0.respond(status: 201) }
    // Between 200 and 399 all is well where nothing else was asked for.
    let (outcome, _) = try run(LoadWorld.plan(.constant(rate: 500))) { $0.respond(status: 301) }
    #expect(outcome.result.failures.isEmpty)
    #expect(outcome.result.statuses == ["200": 450, "301": 50])
  }

  @Test("a length that was not expected") func length() throws {
    var plan = LoadWorld.plan(.constant(rate: 500), connections: 20)
    plan.requests[0].expectedLength = 5
    try expectOnly("length", plan) { $0.respond("hello!") }
    try expectOnly("length", plan) { $0.respond("") }
  }

  @Test("content that was not expected") func content() throws {
    var plan = LoadWorld.plan(.constant(rate: 500), connections: 20)
    plan.requests[0].expectedContent = Array("hello".utf8)
    for wrong in ["hellO", "hell", "hello!", ""] {
      try expectOnly("content", plan) { $0.respond(wrong) }
    }
  }

  @Test("a server that refuses connections after a while, in both loops")
  func refused() throws {
    for isOpen in [true, false] {
      let plan = LoadWorld.plan(isOpen ? .constant(rate: 500) : .closed, seconds: 2)
      var world: SimulatedWorld?
      let outcome = try LoadWorld.run(
        plan,
        prepare: { made in
          world = made
          made.after(500_000_000) { made.setConnectBehaviour(LoadWorld.address, .refuse) }
        }
      ) { service, _ in
        if service.world.now > 0, service.requests > 100 {
          service.peer.reset()
        } else {
          service.world.after(1_000_000) { service.respond() }
        }
      }
      withExtendedLifetime(world) {}
      LoadWorld.checkSums(outcome)
      let failures = outcome.result.failures
      #expect(failures["connect", default: 0] > 4, "\(failures)")
      // Each of four connections tries at growing intervals, at most 1 s: no storm of attempts.
      #expect(failures["connect", default: 0] < 100, "\(failures)")
      #expect(outcome.result.examples["connect"]?.contains("refused") == true)
    }
  }

  @Test("a server that is slow to accept does not end the run")
  func hangingConnects() throws {
    var plan = LoadWorld.plan(.constant(rate: 100), seconds: 2)
    plan.timeoutNanoseconds = 100_000_000
    plan.requestsPerConnection = 1
    let outcome = try LoadWorld.run(
      plan,
      prepare: { world in
        world.after(1_000_000_000) { world.setConnectBehaviour(LoadWorld.address, .hang) }
      }
    ) { service, _ in
      service.respond(fields: "Connection: close\r\n")
      service.peer.finishSending()
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.failures["connect", default: 0] > 0)
    #expect(outcome.result.failures["unsent", default: 0] > 0)
  }

  @Test(
    "in any world, every request is accounted for once and nothing is left behind",
    arguments: 1...60 as ClosedRange<UInt64>)
  func anyWorld(seed: UInt64) throws {
    var dice = SimulatedDice(seed: seed)
    let conditions = SimulatedConditions.drawn(from: &dice)
    let pacing: LoadPacing =
      switch dice.roll(3) {
      case 0: .closed
      case 1: .constant(rate: Double(100 + dice.roll(1000)))
      default: .poisson(rate: Double(100 + dice.roll(1000)))
      }
    var plan = LoadWorld.plan(
      pacing, connections: 1 + dice.roll(30), seconds: 1, warmUp: Double(dice.roll(3)) / 10)
    plan.seed = seed
    plan.timeoutNanoseconds = Int64(50_000_000 + dice.roll(1_000_000_000))
    plan.requestsInFlight = dice.chance(500) ? 1 : 1 + dice.roll(8)
    if dice.chance(400) { plan.requestsPerConnection = 1 + dice.roll(20) }
    // Without a bound, a closed loop fills its second with as many as this machine can simulate in one.
    if dice.chance(300) { plan.requestLimit = 1 + dice.roll(500) } else { plan.requestLimit = 1200 }
    if dice.chance(300), plan.connections > 3 {
      plan.slowReaders = 2
      plan.slowReaderBytesPerSecond = 20_000
    }
    var upload = RequestTemplate(name: "upload")
    upload.method = "POST"
    upload.content = [UInt8](repeating: 65, count: dice.roll(20_000))
    if dice.chance(500) { plan.requests.append(upload) }
    let misdeeds = dice.chance(500) ? 0 : dice.roll(100)
    let outcome = try LoadWorld.run(plan, seed: seed, conditions) { service, request in
      let world = service.world
      if world.dice.chance(misdeeds) {
        switch world.dice.roll(6) {
        case 0: service.peer.reset()
        case 1: service.peer.close()
        case 2: service.say("HTTP/1.1 200")
        case 3: service.say("nonsense\r\n\r\n")
        case 4: service.respond("gone", status: 500)
        default: service.respond(fields: "Connection: close\r\n")
        }
        return
      }
      let content = String(repeating: "x", count: world.dice.roll(9000))
      world.after(Int64(world.dice.roll(3_000_000))) {
        if request.contains("Connection: close") {
          service.respond(content, fields: "Connection: close\r\n")
          service.peer.finishSending()
        } else {
          service.respond(content)
        }
      }
    }
    LoadWorld.checkSums(outcome, "seed \(seed)")
  }
}
