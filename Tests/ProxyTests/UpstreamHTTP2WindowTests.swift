// Requests over HTTP/2 and the windows of their servers, in virtual time: closed, opened late or never, made
// larger by SETTINGS.

import Configuration
import HTTP2
import MillraceEngine
import Testing

@testable import Proxy

private let second: Int64 = 1_000_000_000
private let millisecond: Int64 = 1_000_000

extension UpstreamHTTP2FlowTests {
  private typealias World = HTTP2ServerWorld

  @Test("an upload waits for its server's window, however it comes, and is whole when that opens")
  func closedWindow() throws {
    let world = try World()
    let content = [UInt8](repeating: 7, count: 1000)
    world.makeServer = { HTTP2FlowServer($0, window: 1_500, consumes: false) }
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.responses == 3 }) { client in
        client.request("/s/0", "GET", HTTP2Content.none)
        world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
          // The content comes in several pieces, all but the first behind the closed window.
          let upload = client.request(
            "/s/1", "POST", HTTP2Content(repeating: content, count: 40_000, endsStream: false))
          for i in 1...10 {
            world.flow.after(Int64(i) * 50 * millisecond) {
              client.supply(
                upload, HTTP2Content(repeating: content, count: 2_000, endsStream: i == 10))
            }
          }
          world.flow.after(second) {
            #expect(client.responses[upload]?.status == 0)
            client.get("/s/2")
            Self.consume(world, 100)
          }
        }
      }
    }
    #expect(world.isWhole(1) && world.isWhole(3) && world.isWhole(5))
    let upload = world.servers.compactMap { server in
      server.stream("/s/1").flatMap { server.requests[$0] }
    }
    #expect(upload.map(\.count) == [60_000])
    expectNothingHeld(account)
  }

  @Test("a window that never opens ends its request like a response that never comes")
  func deadWindow() throws {
    let world = try World()
    world.flow.configuration.upstreams[0].timeouts.responseNanoseconds = second
    world.makeServer = { HTTP2FlowServer($0, window: 1_500, consumes: false) }
    let content = [UInt8](repeating: 7, count: 1000)
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.requests == 2 && $0.exchanges == 0 }) { client in
        client.get("/s/0")
        world.flow.until(millisecond, { $0.counters.responses == 1 }) { _ in
          client.request("/s/1", "POST", HTTP2Content(repeating: content, count: 40_000))
        }
      }
    }
    #expect(world.isWhole(1))
    #expect(world.client.responses[3]?.status == 504)
    expectNothingHeld(account)
  }

  @Test("a window that SETTINGS make larger is used behind their acknowledgement")
  func largerWindow() throws {
    let world = try World(FlowWorld.likeARing)
    world.makeServer = { HTTP2FlowServer($0, window: 1 << 20) }
    let content = [UInt8](repeating: 7, count: 4096)
    let account = content.withUnsafeBytes { content in
      world.run(until: { $0.counters.requests == 1 && $0.exchanges == 0 }) { client in
        client.request("/s/0", "POST", HTTP2Content(repeating: content, count: 1 << 20))
      }
    }
    #expect(world.isWhole(1))
    #expect(world.servers.count == 1)
    expectNothingHeld(account)
  }

  /// Lets the servers open their windows, so many times.
  private static func consume(_ world: World, _ left: Int) {
    for server in world.servers { server.consume() }
    if left > 0 { world.flow.after(10 * millisecond) { consume(world, left - 1) } }
  }
}
