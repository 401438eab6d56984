// Status codes below 100: three digits that both versions could carry, and that no table has a place
// for. Both refuse them as a breach of the protocol, and go on. Those above 599 are counted.

import MillraceEngine
import Testing

@testable import Lab

@Suite("Status codes that are none")
struct LoadStatusTests {
  private static let wrong = ["000", "001", "099"]

  @Test("over HTTP/1.1", arguments: wrong)
  func http1(status: String) throws {
    var plan = LoadWorld.plan(connections: 1)
    plan.requestLimit = 1
    let outcome = try LoadWorld.run(plan) { service, _ in
      service.say("HTTP/1.1 \(status) X\r\nContent-Length: 0\r\n\r\n")
    }
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.failures == ["protocol": 1])
    #expect(outcome.result.statuses.isEmpty)
  }

  /// A server of HTTP/2 in a few bytes: SETTINGS when the preface comes, and when the request has come
  /// a head for its stream that ends it.
  private func run(status: String, endsStream: Bool = true) throws -> LoadOutcome {
    var plan = LoadWorld.plan(connections: 1)
    plan.version = .http2
    plan.requestLimit = 1
    return try LoadWorld.run(plan) { service, text in
      guard text.hasPrefix("PRI ") else { return }
      service.say("\0\0\0\u{4}\0\0\0\0\0")
      service.world.after(200_000_000) {
        // HEADERS, 5 bytes, END_HEADERS and END_STREAM, stream 1; a literal value for the name with the
        // index 8, :status (RFC 7541, section 6.2.2 and appendix A).
        let flags = endsStream ? "\u{5}" : "\u{4}"
        service.say("\0\0\u{5}\u{1}\(flags)\0\0\0\u{1}\u{8}\u{3}\(status)")
      }
    }
  }

  @Test("over HTTP/2", arguments: wrong)
  func http2(status: String) throws {
    let outcome = try run(status: status)
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.failures == ["protocol": 1])
    #expect(outcome.result.statuses.isEmpty)
    #expect(outcome.result.examples["protocol"]?.contains("status code") == true)
  }

  @Test("over HTTP/2, before its content", arguments: ["001", "099"])
  func http2BeforeContent(status: String) throws {
    let outcome = try run(status: status, endsStream: false)
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.failures == ["protocol": 1])
  }

  @Test("all from 200 on are counted", arguments: ["200", "599", "600", "999"])
  func existing(status: String) throws {
    let outcome = try run(status: status)
    LoadWorld.checkSums(outcome)
    #expect(outcome.result.statuses == [status: 1])
    #expect(outcome.result.failures == (status == "200" ? [:] : ["status": 1]))
  }
}
