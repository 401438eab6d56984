// Which connections hold which plans: the counts, without a worker.

import Configuration
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Plans and who holds them")
struct LivePlanTests {
  private let metrics: ProxyMetrics

  init() throws { metrics = try ProxyMetrics(Self.configuration([1]), workers: 1) }

  private static func configuration(_ ports: [UInt16]) -> ProxyConfiguration {
    ProxyConfiguration(
      listeners: ports.map { ListenerConfiguration(address: .ip(host: "127.0.0.1", port: $0)) },
      upstreams: [
        UpstreamConfiguration(
          name: "web", servers: [ServerConfiguration(address: .ip(host: "127.0.0.1", port: 9))])
      ])
  }

  /// Listeners by the numbers of their addresses.
  private func generation(_ number: Int, _ addresses: [UInt16]) throws -> PlanGeneration {
    let configuration = Self.configuration(addresses)
    func address(_ port: UInt16) throws -> SocketAddress {
      try SocketAddress.resolve(host: "127.0.0.1", port: port)[0]
    }
    return PlanGeneration(
      configuration, number: number, listenerAddresses: try addresses.map(address),
      serverAddresses: [[[try address(9)]]], contexts: addresses.map { _ in nil },
      identities: zip(addresses, configuration.listeners).map {
        ListenerIdentity(socket: Int32($0), $1)
      }, metrics: metrics)
  }

  private func counts(_ users: PlanUsers) -> [Int: Int] {
    Dictionary(uniqueKeysWithValues: users.connections.map { ($0.generation, $0.connections) })
  }

  @Test("a connection moves to the listener of its address, wherever that stands in the next plan")
  func moves() throws {
    let users = PlanUsers()
    var live = LivePlan(try generation(1, [10, 20]), users: users)
    var use = live.join(live.listener(1))
    #expect(counts(users) == [1: 1])
    let before = live.replace(with: try generation(2, [5, 20, 10]))
    #expect(before == 0)
    var unused: [Int] = []
    live.adopt(&use, unused: &unused)
    let (isCurrent, place) = (live.isCurrent(use), live.place(ofListener: use.listener))
    #expect(isCurrent)
    #expect(place == 1)
    #expect(unused == [0])
    #expect(counts(users) == [1: 0, 2: 1])
    _ = live.retire(0)
    #expect(counts(users) == [2: 1])
    live.leave(use, unused: &unused)
    #expect(unused == [0])
    live.end()
  }

  @Test("one whose listener is gone stays, whatever comes")
  func stays() throws {
    let users = PlanUsers()
    var live = LivePlan(try generation(1, [10, 20]), users: users)
    var use = live.join(live.listener(0))
    _ = live.replace(with: try generation(2, [20]))
    let successor = live.successor(of: use.listener)
    #expect(successor == nil)
    var unused: [Int] = []
    live.adopt(&use, unused: &unused)
    live.follow(&use)
    #expect(unused == [] && counts(users) == [1: 1, 2: 0])
    live.leave(use, unused: &unused)
    #expect(unused == [0])
    live.end()
  }

  @Test("one with streams on several plans holds all of them until it has none")
  func follows() throws {
    let users = PlanUsers()
    var live = LivePlan(try generation(1, [10]), users: users)
    var use = live.join(live.listener(0))
    var unused: [Int] = []
    for number in 2...4 {
      _ = live.replace(with: try generation(number, [10]))
      live.follow(&use)
      live.follow(&use)
      let current = live.listener(0)
      #expect(use.listener == current)
    }
    #expect(counts(users) == [1: 1, 2: 1, 3: 1, 4: 1])
    live.adopt(&use, unused: &unused)
    #expect(unused == [0, 1, 2])
    #expect(counts(users) == [1: 0, 2: 0, 3: 0, 4: 1])
    live.end()
  }

  @Test("TLS or none makes another listener of one address, and no other socket")
  func kinds() {
    var plain = ListenerConfiguration(address: .ip(host: "127.0.0.1", port: 1))
    let first = ListenerIdentity(socket: 3, plain)
    plain.tls = ListenerTLS(certificates: [])
    let second = ListenerIdentity(socket: 3, plain)
    #expect(first != second)
    #expect(first.socket == 3 && second.socket == 3)
  }

  @Test("a worker is full when each place has a plan")
  func full() throws {
    let users = PlanUsers()
    var live = LivePlan(try generation(1, [10]), users: users)
    for number in 2...LivePlan.windows {
      #expect(!users.isFull)
      _ = live.join(live.listener(0))
      let before = live.replace(with: try generation(number, [10]))
      #expect(before != nil)
    }
    #expect(users.isFull)
    let refused = live.replace(with: try generation(99, [10]))
    #expect(refused == nil)
    live.end()
  }
}
