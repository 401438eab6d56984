// A load thread in a simulated world: the very code that sends load, with a virtual clock and network
// and a server whose behaviour is a few lines. What it must find follows from arithmetic.

import HTTP
import HTTP1
import MillraceEngine
import Synchronization
import Testing

@testable import Lab

/// What is left of a run when it has ended.
struct LoadOutcome {
  var result: LoadResult
  var engine: EngineCounters

  var failed: Int { result.failures.values.reduce(0, +) }
}

/// The server's side of one connection: requests one by one, in their order.
final class SimulatedService {
  let peer: SimulatedPeer
  let world: SimulatedWorld
  /// Of the connection among those of the server, from 0.
  let number: Int
  private(set) var requests = 0
  private var input: [UInt8] = []
  private var queued: [[UInt8]] = []
  private var answer: ((SimulatedService, String) -> Void)?

  init(
    _ peer: SimulatedPeer, _ world: SimulatedWorld, number: Int,
    _ answer: @escaping (SimulatedService, String) -> Void
  ) {
    self.peer = peer
    self.world = world
    self.number = number
    self.answer = answer
    peer.onEvent = { [self] peer, event in
      switch event {
      case .readable: read()
      case .writable: drain()
      case .ended:
        self.answer = nil
        peer.close()
      case .reset, .refused: self.answer = nil
      case .connected: break
      }
    }
  }

  private func read() {
    while true {
      let bytes = peer.receive()
      if bytes.isEmpty { break }
      input += bytes
    }
    while let answer, let request = takeRequest() {
      requests += 1
      answer(self, request)
    }
  }

  /// A whole request as text, its content with it.
  private func takeRequest() -> String? {
    let text = String(decoding: input, as: UTF8.self)
    guard let end = text.firstRange(ofText: "\r\n\r\n") else { return nil }
    var length = 0
    for line in text.prefix(end).split(separator: "\r\n")
    where line.lowercased().hasPrefix("content-length:") {
      length = Int(line.split(separator: " ").last ?? "") ?? 0
    }
    let whole = end + 4 + length
    guard input.count >= whole else { return nil }
    defer { input.removeFirst(whole) }
    return String(decoding: input[..<whole], as: UTF8.self)
  }

  /// Sends a text, all of it, in time.
  func say(_ text: String) {
    queued.append(Array(text.utf8))
    drain()
  }

  /// A response with a length.
  func respond(_ content: String = "hello", status: Int = 200, fields: String = "") {
    say("HTTP/1.1 \(status) X\r\n\(fields)Content-Length: \(content.utf8.count)\r\n\r\n\(content)")
  }

  private func drain() {
    while let next = queued.first {
      let taken = peer.send(next)
      if taken < next.count {
        queued[0].removeFirst(taken)
        return
      }
      queued.removeFirst()
    }
  }
}

extension String {
  /// The offset of a text in UTF-8.
  fileprivate func firstRange(ofText text: String) -> Int? {
    let all = Array(utf8)
    let wanted = Array(text.utf8)
    guard all.count >= wanted.count else { return nil }
    return (0...(all.count - wanted.count)).first { Array(all[$0..<$0 + wanted.count]) == wanted }
  }
}

enum LoadWorld {
  static let address = SocketAddress(10, 0, 0, 1, port: 80)

  /// A plan for one server and one template.
  static func plan(
    _ pacing: LoadPacing = .closed, connections: Int = 4, seconds: Double = 1,
    warmUp: Double = 0
  ) -> LoadPlan {
    var plan = LoadPlan()
    plan.servers = [
      LoadServer(host: "test", authority: "test", address: address, usesTLS: false)
    ]
    plan.requests = [RequestTemplate(name: "GET /")]
    plan.pacing = pacing
    plan.connections = connections
    plan.durationNanoseconds = Int64(seconds * 1e9)
    plan.warmUpNanoseconds = Int64(warmUp * 1e9)
    plan.timeoutNanoseconds = 1_000_000_000
    return plan
  }

  /// Runs one thread of load in a world of its own.
  /// - Parameters:
  ///   - prepare: makes the world what it is to be, before anything happens.
  ///   - stopAfter: nanoseconds after which the run is asked to stop.
  ///   - answer: what the server does with a request.
  static func run(
    _ plan: LoadPlan, seed: UInt64 = 1, _ conditions: SimulatedConditions = .calm,
    stopAfter: Int64? = nil, prepare: (SimulatedWorld) -> Void = { _ in },
    answer: @escaping (SimulatedService, String) -> Void
  ) throws -> LoadOutcome {
    let world = SimulatedWorld(seed: seed, conditions)
    prepare(world)
    for (i, server) in plan.servers.enumerated() where i == 0 || plan.servers.count > 1 {
      var count = 0
      world.listen(server.address) { peer in
        _ = SimulatedService(peer, world, number: count, answer)
        count += 1
      }
    }
    let board = LoadBoard(threads: 1)
    var options = EngineOptions()
    options.smallBuffers = 256
    options.largeBuffers = 32
    let parameters = LoadThreadParameters(plan, PacingSource(plan), board, index: 0, of: 1, options)
    var worker = try LoadWorker<Simulated>(
      parameters, engine: Simulated(parameters.options, world: world))
    if let stopAfter {
      let waker = worker.engine.waker
      world.after(stopAfter) {
        board.stops.store(true, ordering: .releasing)
        waker.wake()
      }
    }
    var turns = 0
    while worker.stage != .done {
      worker.turn()
      if board.settled.load(ordering: .relaxed) == 1, worker.start == .max {
        board.startAt.store(worker.engine.now + 100_000, ordering: .relaxed)
        worker.engine.waker.wake()
      }
      turns += 1
      // The simulated engine cannot be left with work under way, so this is the end of the test.
      precondition(
        turns < 2_000_000,
        "seed \(parameters.plan.seed): stuck while \(worker.stage), \(worker.inAir) in flight")
    }
    let counters = worker.engine.counters
    let box = TallyBox(count: 1)
    box.add(worker.end())
    return LoadOutcome(result: box.result(plan, .simulated, board), engine: counters)
  }

  /// What holds of every run, whatever the world did to it.
  static func checkSums(_ outcome: LoadOutcome, _ comment: Comment? = nil) {
    let result = outcome.result
    #expect(result.planned == result.completed + outcome.failed, comment)
    let never =
      result.failures["unsent", default: 0] + result.failures["connect", default: 0]
      + result.failures["tls", default: 0]
    #expect(result.planned == result.sent + never, comment)
    #expect(result.latency.count == result.completed, comment)
    #expect(outcome.engine.operationsInFlight == 0, comment)
    #expect(outcome.engine.framesInUse == 0, comment)
    #expect(outcome.engine.leasedBuffers == 0, comment)
  }
}
