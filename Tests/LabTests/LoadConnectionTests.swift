// One connection's way through responses of every framing, pipelines, churn and slow reading.

import MillraceEngine
import Testing

@testable import Lab

@Suite("Connections of the load")
struct LoadConnectionTests {
  @Test("responses of every framing are read to their end, in pieces of every size")
  func framings() throws {
    let responses = [
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a=b\r\nlo\r\n0\r\nX: y\r\n\r\n",
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        + "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ]
    for (i, response) in responses.enumerated() {
      for piece in [1, 2, 7, 4096] {
        var conditions = SimulatedConditions.calm
        conditions.segmentBytes = piece...piece
        var plan = LoadWorld.plan(connections: 2)
        plan.requestLimit = 20
        plan.requests[0].expectedContent = Array("hello".utf8)
        let outcome = try LoadWorld.run(plan, seed: UInt64(piece), conditions) { service, _ in
          service.say(response)
        }
        LoadWorld.checkSums(outcome)
        #expect(outcome.result.completed == 20, "response \(i) in pieces of \(piece)")
        #expect(outcome.result.connectionsOpened == 2)
      }
    }
  }

  @Test("responses without content, and to HEAD, end with their heads")
  func withoutContent() throws {
    for status in [204, 304] {
      var plan = LoadWorld.plan(connections: 1)
      plan.requestLimit = 10
      let outcome = try LoadWorld.run(plan) { service, _ in
        service.say("HTTP/1.1 \(status) X\r\n\r\n")
      }
      #expect(outcome.result.completed == 10 && outcome.result.connectionsOpened == 1)
    }
    var plan = LoadWorld.plan(connections: 1)
    plan.requestLimit = 10
    plan.requests[0].method = "HEAD"
    let outcome = try LoadWorld.run(plan) { service, _ in
      service.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    }
    #expect(outcome.result.completed == 10 && outcome.result.connectionsOpened == 1)
  }

  @Test("content that the connection's end delimits is whole, and each response takes a connection")
  func untilClose() throws {
    var plan = LoadWorld.plan(connections: 2)
    plan.requestLimit = 20
    plan.requests[0].expectedContent = Array("hello".utf8)
    let outcome = try LoadWorld.run(plan) { service, _ in
      service.say("HTTP/1.1 200 OK\r\n\r\nhello")
      service.peer.finishSending()
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.completed == 20)
    #expect(outcome.result.connectionsOpened >= 20)
  }

  @Test("a pipeline's responses belong to its requests in their order")
  func pipelineOrder() throws {
    var plan = LoadWorld.plan(connections: 3)
    plan.requestsInFlight = 5
    plan.requestLimit = 300
    plan.requests = ["one", "two", "three"].map { name in
      var request = RequestTemplate(name: name)
      request.target = "/\(name)"
      request.expectedContent = Array(name.utf8)
      return request
    }
    var deepest = 0
    var waiting: [Int: Int] = [:]
    let outcome = try LoadWorld.run(plan) { service, request in
      waiting[service.number, default: 0] += 1
      deepest = max(deepest, waiting[service.number]!)
      // The time of an answer is the same for all, so they come in order and late.
      service.world.after(1_000_000) {
        waiting[service.number]! -= 1
        service.respond(String(request.split(separator: " ")[1].dropFirst()))
      }
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.completed == 300)
    #expect(outcome.result.requests.allSatisfy { $0.completed > 50 && $0.failed == 0 })
    #expect(deepest == 5)
    #expect(outcome.result.connectionsOpened == 3)
  }

  @Test("what a closing server leaves unanswered in a pipeline is asked again, not failed")
  func pipelineIsResent() throws {
    for pacing in [LoadPacing.closed, .constant(rate: 400)] {
      var plan = LoadWorld.plan(pacing, connections: 3)
      plan.requestsInFlight = 4
      plan.requestLimit = 200
      let outcome = try LoadWorld.run(plan) { service, _ in
        // Its seventh answer announces the end; later requests on the connection get none.
        if service.requests < 7 { service.respond() }
        if service.requests == 7 {
          service.respond(fields: "Connection: close\r\n")
          service.peer.finishSending()
        }
      }
      LoadWorld.checkSums(outcome)
      #expect(outcome.result.completed == 200, "\(outcome.result.failures)")
      #expect(outcome.result.connectionsOpened >= 200 / 7)
    }
  }

  @Test("a connection is used as often as the plan says", arguments: [1, 3])
  func churn(requests: Int) throws {
    var plan = LoadWorld.plan(connections: 4)
    plan.requestsPerConnection = requests
    plan.requestLimit = 120
    var perConnection: [Int: Int] = [:]
    var closing = 0
    let outcome = try LoadWorld.run(plan) { service, request in
      perConnection[service.number, default: 0] += 1
      if request.contains("\r\nConnection: close\r\n") {
        closing += 1
        #expect(service.requests == requests)
        service.respond(fields: "Connection: close\r\n")
        service.peer.finishSending()
      } else {
        service.respond()
      }
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.completed == 120)
    #expect(perConnection.values.max() == requests)
    #expect(perConnection.count >= 120 / requests)
    #expect(closing >= 120 / requests - 4)
    #expect(outcome.result.connectTime.count > 100 / requests)
  }

  @Test("content of several MiB leaves in pieces and arrives whole")
  func uploads() throws {
    var plan = LoadWorld.plan(connections: 2)
    plan.timeoutNanoseconds = 30_000_000_000
    plan.requestLimit = 4
    plan.requests[0].method = "POST"
    plan.requests[0].content = (0..<1_500_000).map { UInt8(truncatingIfNeeded: 32 + $0 % 90) }
    let content = String(decoding: plan.requests[0].content, as: UTF8.self)
    var received = 0
    let outcome = try LoadWorld.run(plan) { service, request in
      received += 1
      #expect(request.hasSuffix(content))
      service.respond()
    }
    LoadWorld.checkSums(outcome)
    #expect(received == 4 && outcome.result.completed == 4)
    #expect(outcome.result.bytesSent > 6_000_000)
  }

  @Test("a slow reader takes no more than its rate, and is not among the planned")
  func slowReaders() throws {
    var plan = LoadWorld.plan(.constant(rate: 100), connections: 3, seconds: 4)
    plan.slowReaders = 1
    plan.slowReaderBytesPerSecond = 20_000
    plan.requests[0].expectedLength = 10_000
    let content = String(repeating: "x", count: 10_000)
    let outcome = try LoadWorld.run(plan) { service, _ in service.respond(content) }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.completed == 400)
    // 20,000 bytes per second for 4 s are 8 responses, and one that its first buffer may hold.
    #expect((6...9).contains(outcome.result.slowReaderResponses))
    #expect(outcome.result.slowReaderFailures == 0)
    #expect(outcome.result.latency.maximum < 2_000_000)
  }

  @Test("the same seed makes the same run")
  func runsRepeat() throws {
    func run(_ seed: UInt64) throws -> LoadResult {
      let plan = LoadWorld.plan(.poisson(rate: 500), connections: 5)
      return try LoadWorld.run(plan, seed: seed) { service, _ in
        service.world.after(Int64(service.world.dice.roll(5_000_000))) { service.respond() }
      }.result
    }
    let (first, again, other) = (try run(1), try run(1), try run(2))
    #expect(first.latency.histogram == again.latency.histogram)
    #expect(first.latency.histogram != other.latency.histogram)
  }
}
