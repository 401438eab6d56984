// What a worker knows of each server: its idle connections, its load, and whether a connect failed
// a moment ago. And the choice among them.

import Configuration
import Glibc
import MillraceEngine
import TLS

struct ServerState {
  /// The most recently used idle connection, which is the likeliest to be alive; -1 without one.
  var idleHead: Int32 = -1
  /// The least recently used one, the first to go when there are too many.
  var idleTail: Int32 = -1
  var idleCount = 0
  /// The server has chosen HTTP/2 when it was last asked (ALPN).
  var choosesHTTP2 = false
  /// Over HTTP/2 it took no tunnels when it was last asked (RFC 8441 3).
  var refusesTunnels = false
  /// The newest connection of HTTP/2; -1 without one.
  var sharedHead: Int32 = -1
  /// Requests that are being served.
  var active = 0
  /// Smooth weighted round robin's current weight.
  var current = 0
  /// True while the last response was long: the next one is then read in large buffers from its
  /// first byte, because by the time its length is known a burst of small ones is on its way.
  var prefersLarge = false
  /// For how long the server has been seen to keep an idle connection, with a margin, and until when
  /// that is remembered: see KeepAlive.swift.
  var habit = Int64.max
  var habitUntil: Int64 = 0
  /// The age at which it closed an idle connection once, and when.
  var suspectedAge: Int64 = 0
  var suspectedAt = -ServerState.memory
  /// Index of the address that a connection was last made to.
  var address: Int32 = 0
  /// Monotonic nanoseconds until which the server is passed over after a failed connect.
  var downUntil: Int64 = 0
  /// Its upstream and place in the current plan; -1: it is not in it.
  var group: Int32 = -1
  var place: Int32 = -1
  /// Plans in use that name it.
  var plans = 0
  /// What the server gave to resume TLS sessions with; nil: nothing yet.
  var tickets: ClientTickets?
  /// Its figures in the worker's block of metrics; the plans that follow say the same.
  var row: Int32 = 0
}

/// What makes two servers of two plans the same one: connections to it are kept across the change.
private struct ServerIdentity: Hashable {
  let upstream: [UInt8]
  let server: [UInt8]
  /// The local end, which a kept connection cannot change.
  let origin: String
  /// The addresses that the name stood for, likewise.
  let addresses: String
  /// How the server is verified, which was asked when the connection was made: the context itself,
  /// since two of them may differ in what cannot be seen. 0: the connection is plain.
  let tls: Int
  /// The name that it was verified by.
  let name: [UInt8]
  /// Among servers of one upstream that are alike in all of this.
  var number = 0

  private init(_ upstream: UpstreamPlan, _ server: ServerPlan) {
    self.upstream = Array(upstream.name.raw)
    self.server = Array(server.text.raw)
    origin = upstream.origin.map { "\($0)" } ?? ""
    // In no order: a resolver gives them in another one each time.
    addresses = server.addresses.map { "\($0)" }.sorted().joined(separator: " ")
    tls = upstream.tls.map { Int(bitPattern: $0.toOpaque()) } ?? 0
    name = upstream.tls == nil ? [] : Array(server.host.raw)
  }

  /// Those of an upstream, in its order.
  static func all(_ upstream: UpstreamPlan) -> [ServerIdentity] {
    var seen: [ServerIdentity: Int] = [:]
    return upstream.servers.map { server in
      var identity = ServerIdentity(upstream, server)
      let number = seen[identity, default: 0]
      seen[identity] = number + 1
      identity.number = number
      return identity
    }
  }
}

/// The servers' states of one worker, by an upstream's index in `LivePlan` and a server's place in it.
/// A server that stays while the plan changes keeps its state, and so its connections.
struct ServerPools {
  private typealias StatePointer = UnsafeMutablePointer<ServerState>

  /// For each place of `LivePlan`: the states of all of its servers.
  private let tables: UnsafeMutablePointer<UnsafeMutableBufferPointer<StatePointer>>
  /// For each upstream: the states of its servers.
  private let groups: UnsafeMutablePointer<UnsafeMutablePointer<StatePointer>>
  /// Where the next search among equals starts, by upstream: without it the first of two idle
  /// servers would get everything.
  private let rotations: UnsafeMutablePointer<Int>
  /// The place of the current plan.
  private let current: UnsafeMutablePointer<Int>
  /// Idle connections to all servers.
  private let idle: UnsafeMutablePointer<Int>
  /// How long a server is passed over after a failed connect, while others are there: long enough
  /// not to pay a connect timeout per request, short enough to notice a restart.
  static let coolOffNanoseconds: Int64 = 1_000_000_000

  init(_ plan: Plan) {
    let upstreams = LivePlan.windows * LivePlan.upstreamsPerWindow
    tables = .allocate(capacity: LivePlan.windows)
    for place in 0..<LivePlan.windows {
      (tables + place).initialize(to: UnsafeMutableBufferPointer(start: nil, count: 0))
    }
    groups = .allocate(capacity: upstreams)
    rotations = .allocate(capacity: upstreams)
    current = .allocate(capacity: 1)
    current.initialize(to: 0)
    idle = .allocate(capacity: 1)
    idle.initialize(to: 0)
    fill(0, plan, [:])
  }

  func deallocate() {
    for place in 0..<LivePlan.windows { retire(place) }
    tables.deallocate()
    groups.deallocate()
    rotations.deallocate()
    current.deallocate()
    idle.deallocate()
  }

  // MARK: Plans

  /// Takes in a plan, which becomes the current one. Servers that the one before names too keep their
  /// states; of the others `group` is below 0 from here on.
  func replace(_ old: Plan, with new: Plan, at place: Int) {
    var known: [ServerIdentity: UnsafeMutablePointer<ServerState>] = [:]
    var at = 0
    for upstream in old.upstreams {
      for identity in ServerIdentity.all(upstream) {
        known[identity] = tables[current.pointee][at]
        at += 1
      }
    }
    for state in tables[current.pointee] { state.pointee.group = -1 }
    current.pointee = place
    fill(place, new, known)
  }

  private func fill(
    _ place: Int, _ plan: Plan, _ known: [ServerIdentity: UnsafeMutablePointer<ServerState>]
  ) {
    var count = 0
    for upstream in plan.upstreams { count += upstream.servers.count }
    let table = UnsafeMutablePointer<StatePointer>.allocate(capacity: max(count, 1))
    var at = 0
    for (index, upstream) in plan.upstreams.enumerated() {
      let group = place * LivePlan.upstreamsPerWindow + index
      (groups + group).initialize(to: table + at)
      (rotations + group).initialize(to: 0)
      for (number, identity) in ServerIdentity.all(upstream).enumerated() {
        let state = known[identity] ?? makeState()
        state.pointee.group = Int32(group)
        state.pointee.place = Int32(number)
        state.pointee.plans += 1
        state.pointee.row = upstream.servers[number].row
        (table + at).initialize(to: state)
        at += 1
      }
    }
    tables[place] = UnsafeMutableBufferPointer(start: table, count: count)
  }

  private func makeState() -> UnsafeMutablePointer<ServerState> {
    let state = StatePointer.allocate(capacity: 1)
    state.initialize(to: ServerState())
    return state
  }

  /// Lets go of the plan of a place, on which nobody is any more.
  func retire(_ place: Int) {
    let table = tables[place]
    guard let base = table.baseAddress else { return }
    for state in table {
      state.pointee.plans -= 1
      if state.pointee.plans == 0 {
        state.deinitialize(count: 1)
        state.deallocate()
      }
    }
    base.deallocate()
    tables[place] = UnsafeMutableBufferPointer(start: nil, count: 0)
  }

  /// The states of the servers of a place.
  func states(_ place: Int) -> UnsafeMutableBufferPointer<UnsafeMutablePointer<ServerState>> {
    tables[place]
  }

  @inline(__always)
  func server(_ group: Int32, _ server: Int32) -> UnsafeMutablePointer<ServerState> {
    groups[Int(group)][Int(server)]
  }

  /// Where a server's figures are in the worker's block of metrics.
  @inline(__always)
  func row(_ group: Int32, _ server: Int32) -> Int32 { self.server(group, server).pointee.row }

  // MARK: Counts

  @inline(__always) var idleTotal: Int { idle.pointee }

  /// A connection has become idle (1), or no longer is (-1).
  @inline(__always)
  func countIdle(_ state: UnsafeMutablePointer<ServerState>, _ change: Int) {
    state.pointee.idleCount += change
    idle.pointee += change
  }

  /// Requests that are being served by servers of the current plan.
  var activeTotal: Int { tables[current.pointee].reduce(0) { $0 + $1.pointee.active } }

  /// A server for the next request; `avoid` is the one that just failed, or -1.
  /// - Returns: -1 where an operator has taken all of them out.
  @inline(__always)
  func choose(
    _ group: Int32, _ plan: UnsafePointer<UpstreamPlan>, avoid: Int32, now: Int64, random: UInt32
  ) -> Int32 {
    if plan.pointee.servers.count == 1 { return plan.pointee.servers[0].admission.isUp ? 0 : -1 }
    return chooseAmong(group, plan, avoid: avoid, now: now, random: random)
  }

  private func chooseAmong(
    _ group: Int32, _ plan: UnsafePointer<UpstreamPlan>, avoid: Int32, now: Int64, random: UInt32
  ) -> Int32 {
    let count = plan.pointee.servers.count
    func isUp(_ i: Int) -> Bool { plan.pointee.servers[i].admission.isUp }
    func other(_ i: Int) -> Bool { Int32(i) != avoid && isUp(i) }
    func usable(_ i: Int) -> Bool {
      other(i) && server(group, Int32(i)).pointee.downUntil <= now
    }
    let anyUsable = (0..<count).contains(where: usable)
    let anyOther = anyUsable || (0..<count).contains(where: other)
    guard anyOther || (0..<count).contains(where: isUp) else { return -1 }
    func eligible(_ i: Int) -> Bool { anyUsable ? usable(i) : anyOther ? other(i) : isUp(i) }
    switch plan.pointee.balance {
    case .roundRobin: return smooth(group, plan, eligible)
    case .leastRequests: return least(group, plan, eligible)
    case .randomTwo:
      let first = pick(count, random & 0xFFFF, eligible)
      let second = pick(count, random >> 16, eligible)
      return load(group, plan, first) <= load(group, plan, second) ? first : second
    }
  }

  /// Smooth weighted round robin: each turn every server gains its weight, the richest is taken
  /// and pays the sum. Interleaves servers instead of serving each in runs.
  private func smooth(
    _ group: Int32, _ plan: UnsafePointer<UpstreamPlan>, _ eligible: (Int) -> Bool
  ) -> Int32 {
    var best: Int32 = -1
    var sum = 0
    for i in plan.pointee.servers.indices where eligible(i) {
      let state = server(group, Int32(i))
      state.pointee.current += Int(plan.pointee.servers[i].weight)
      sum += Int(plan.pointee.servers[i].weight)
      if best < 0 || state.pointee.current > server(group, best).pointee.current {
        best = Int32(i)
      }
    }
    if best >= 0 { server(group, best).pointee.current -= sum }
    return max(best, 0)
  }

  private func least(
    _ group: Int32, _ plan: UnsafePointer<UpstreamPlan>, _ eligible: (Int) -> Bool
  ) -> Int32 {
    var best: Int32 = -1
    let count = plan.pointee.servers.count
    rotations[Int(group)] = (rotations[Int(group)] + 1) % count
    for offset in 0..<count {
      let i = (rotations[Int(group)] + offset) % count
      guard eligible(i) else { continue }
      if best < 0 || load(group, plan, Int32(i)) < load(group, plan, best) { best = Int32(i) }
    }
    return max(best, 0)
  }

  /// Requests per unit of weight, counting the one to come.
  private func load(_ group: Int32, _ plan: UnsafePointer<UpstreamPlan>, _ index: Int32) -> Double {
    Double(server(group, index).pointee.active + 1)
      / Double(plan.pointee.servers[Int(index)].weight)
  }

  private func pick(_ count: Int, _ random: UInt32, _ eligible: (Int) -> Bool) -> Int32 {
    let start = Int(random) % count
    for offset in 0..<count where eligible((start + offset) % count) {
      return Int32((start + offset) % count)
    }
    return Int32(start)
  }
}
