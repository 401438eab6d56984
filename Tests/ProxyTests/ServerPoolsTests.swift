import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Choice of a server")
struct ServerPoolsTests {
  private func pools(
    weights: [Int], _ balance: Balance
  ) -> (pools: ServerPools, upstream: UpstreamPlan) {
    let servers = weights.map {
      ServerConfiguration(address: .ip(host: "127.0.0.1", port: 1), weight: $0)
    }
    let configuration = ProxyConfiguration(
      listeners: [], routes: [],
      upstreams: [UpstreamConfiguration(name: "u", servers: servers, balance: balance)])
    let address = SocketAddress(unixPath: "/nowhere")!
    let plan = lastingPlan(
      configuration, listenerAddresses: [],
      serverAddresses: [weights.map { _ in [address] }], contexts: [])
    return (ServerPools(plan), plan.upstreams[0])
  }

  private func switched(
    weights: [Int], _ balance: Balance
  ) -> (pools: ServerPools, upstream: UpstreamPlan, switches: ServerSwitches) {
    let servers = weights.enumerated().map {
      ServerConfiguration(address: .ip(host: "127.0.0.1", port: UInt16($0 + 1)), weight: $1)
    }
    let configuration = ProxyConfiguration(
      listeners: [], routes: [],
      upstreams: [UpstreamConfiguration(name: "u", servers: servers, balance: balance)])
    guard let metrics = try? ProxyMetrics(configuration, workers: 1),
      let address = SocketAddress(unixPath: "/nowhere")
    else { preconditionFailure("no memory for metrics") }
    let generation = PlanGeneration(
      configuration, listenerAddresses: [],
      serverAddresses: [weights.map { _ in [address] }], contexts: [], metrics: metrics)
    let plan = Unmanaged.passRetained(generation).takeUnretainedValue().plan
    return (ServerPools(plan), plan.upstreams[0], metrics.switches)
  }

  private func choices(
    _ pools: ServerPools, _ upstream: UpstreamPlan, _ count: Int, avoid: Int32 = -1,
    now: Int64 = 0
  ) -> [Int32] {
    withUnsafePointer(to: upstream) { upstream in
      (0..<count).map {
        pools.choose(
          0, upstream, avoid: avoid, now: now, random: UInt32(truncatingIfNeeded: $0 &* 40_503))
      }
    }
  }

  @Test("weighted round robin interleaves in proportion")
  func smooth() {
    let (pools, upstream) = pools(weights: [5, 1, 1], .roundRobin)
    #expect(choices(pools, upstream, 7) == [0, 0, 1, 0, 2, 0, 0])
    pools.deallocate()
  }

  @Test("least requests takes the idler server, by weight, and rotates among equals")
  func least() {
    let (pools, upstream) = pools(weights: [1, 1], .leastRequests)
    #expect(Set(choices(pools, upstream, 2)) == [0, 1])
    pools.server(0, 0).pointee.active = 3
    #expect(Set(choices(pools, upstream, 4)) == [1])
    pools.deallocate()
  }

  @Test("every balance passes over a server that just failed, and one that is down")
  func avoids() {
    for balance in Balance.allCases {
      let (pools, upstream) = pools(weights: [1, 1, 1], balance)
      #expect(!choices(pools, upstream, 60, avoid: 1).contains(1))
      pools.server(0, 2).pointee.downUntil = 100
      #expect(!choices(pools, upstream, 60, now: 99).contains(2))
      #expect(choices(pools, upstream, 60, now: 100).contains(2))
      pools.deallocate()
    }
  }

  @Test(
    "every balance leaves out servers that an operator has taken out, and none is left if all are")
  func takenOut() {
    for balance in Balance.allCases {
      for admission in [ServerAdmission.drain, .maintenance] {
        let (pools, upstream, switches) = switched(weights: [1, 1, 1], balance)
        func set(_ server: Int, _ admission: ServerAdmission) {
          switches.set(admission, upstream: "u", server: "127.0.0.1:\(server + 1)")
        }
        set(1, admission)
        #expect(Set(choices(pools, upstream, 60)) == [0, 2])
        // Neither the one that has failed nor one that is down is worse than one that is taken out.
        set(2, admission)
        #expect(Set(choices(pools, upstream, 60, avoid: 0)) == [0])
        pools.server(0, 0).pointee.downUntil = 100
        #expect(Set(choices(pools, upstream, 60, now: 1)) == [0])
        set(0, admission)
        #expect(Set(choices(pools, upstream, 60)) == [-1])
        for server in 0..<3 { set(server, .up) }
        #expect(Set(choices(pools, upstream, 60, now: 100)) == [0, 1, 2])
        pools.deallocate()
      }
    }
  }

  @Test("the only server of an upstream can be taken out")
  func onlyOne() {
    let (pools, upstream, switches) = switched(weights: [1], .roundRobin)
    #expect(choices(pools, upstream, 2) == [0, 0])
    switches.set(.drain, upstream: "u", server: "127.0.0.1:1")
    #expect(switches.admission(upstream: "u", server: "127.0.0.1:1") == .drain)
    #expect(choices(pools, upstream, 2) == [-1, -1])
    pools.deallocate()
  }

  @Test("with every server down one is tried all the same")
  func allDown() {
    for balance in Balance.allCases {
      let (pools, upstream) = pools(weights: [1, 1], balance)
      for i in 0..<2 { pools.server(0, Int32(i)).pointee.downUntil = 100 }
      #expect(choices(pools, upstream, 10, now: 1).allSatisfy { (0..<2).contains($0) })
      pools.deallocate()
    }
  }

  @Test("the only server is chosen whatever its state")
  func single() {
    let (pools, upstream) = pools(weights: [1], .roundRobin)
    pools.server(0, 0).pointee.downUntil = .max
    #expect(choices(pools, upstream, 3, avoid: 0) == [0, 0, 0])
    pools.deallocate()
  }
}
