// Listeners that come and go with the plans of a worker, in virtual time.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

private let millisecond: Int64 = 1_000_000

@Suite("Listeners that come and go")
struct ListenerPlanTests {
  /// The usual plan with a second listener.
  private static func withAnother(_ flow: FlowWorld) throws -> SimulatedWorkerParts {
    var parts = flow.parts
    parts.configuration.listeners.append(
      ListenerConfiguration(name: "another", address: .ip(host: "127.0.0.1", port: 8081)))
    parts.listeners.append(try SocketAddress.resolve(host: "127.0.0.1", port: 8081)[0])
    parts.contexts.append(nil)
    return parts
  }

  @Test("a new one accepts; its connections end as in a drain when it goes, but not by a deadline")
  func comesAndGoes() throws {
    let flow = try FlowWorld()
    flow.configuration.drain.deadlineNanoseconds = 1000 * millisecond
    var asked: [SimulatedPeer] = []
    flow.serve = { flow, peer, text in
      if text.contains("/s/held") { asked.append(peer) } else { flow.answer(peer, "ok") }
    }
    let more = try Self.withAnother(flow)
    let address = more.listeners[1]
    var refused: FlowClient?
    let account = flow.run {
      flow.remote.replacePlan(more)
      flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { _ in
        let (idle, busy) = (flow.connect(to: address), flow.connect(to: address))
        idle.send(FlowWorld.get("/s/1"))
        busy.send(FlowWorld.get("/s/held"))
        flow.until(millisecond, { _ in idle.count("ok") == 1 && asked.count == 1 }) { _ in
          flow.remote.replacePlan(flow.parts)
          flow.until(millisecond, { $0.counters.plansInstalled == 2 }) { account in
            #expect(account.connections == 2)
            // The busy connection holds the plan that had the listener.
            #expect(account.plans == 2)
            refused = flow.connect(to: address)
            // Longer than the deadline of a drain, and than an idle connection has.
            flow.after(5000 * millisecond) {
              #expect(idle.isOver)
              #expect(!busy.isOver)
              flow.answer(asked[0], "late")
              flow.until(millisecond, { _ in busy.isOver }) { account in
                #expect(busy.text.contains("Connection: close") && busy.text.hasSuffix("late"))
                #expect(account.connections == 0)
                #expect(account.plans == 1)
                flow.remote.drain()
              }
            }
          }
        }
      }
    }
    #expect(refused?.isOver == true)
    #expect(account?.counters.responses == 2)
  }

  @Test("an idle connection may bring one more request")
  func oneMore() throws {
    let flow = try FlowWorld()
    let more = try Self.withAnother(flow)
    let account = flow.run {
      flow.remote.replacePlan(more)
      flow.until(millisecond, { $0.counters.plansInstalled == 1 }) { _ in
        let idle = flow.connect(to: more.listeners[1])
        idle.send(FlowWorld.get("/s/1"))
        flow.until(millisecond, { _ in idle.count("ok") == 1 }) { _ in
          flow.remote.replacePlan(flow.parts)
          flow.until(millisecond, { $0.counters.plansInstalled == 2 }) { _ in
            idle.send(FlowWorld.get("/s/2"))
            flow.until(millisecond, { _ in idle.isOver }) { account in
              #expect(idle.count("ok") == 2)
              #expect(idle.count("Connection: close") == 1)
              #expect(account.plans == 1)
              flow.remote.drain()
            }
          }
        }
      }
    }
    #expect(account?.counters.responses == 2)
  }
}
