// What a worker knows of each server: its idle connections, its load, and whether a connect failed
// a moment ago. And the choice among them.

import Configuration
import Glibc
import MillraceEngine

struct ServerState {
  /// The most recently used idle connection, which is the likeliest to be alive; -1 without one.
  var idleHead: Int32 = -1
  /// The least recently used one, the first to go when there are too many.
  var idleTail: Int32 = -1
  var idleCount = 0
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
}

/// The servers' states of one worker, by upstream and server index.
struct ServerPools {
  private let states: UnsafeMutablePointer<ServerState>
  private let offsets: UnsafeMutablePointer<Int>
  private let total: Int
  /// Where the next search among equals starts, by upstream: without it the first of two idle
  /// servers would get everything.
  private let rotations: UnsafeMutablePointer<Int>
  /// How long a server is passed over after a failed connect, while others are there: long enough
  /// not to pay a connect timeout per request, short enough to notice a restart.
  static let coolOffNanoseconds: Int64 = 1_000_000_000

  init(_ plan: Plan) {
    offsets = .allocate(capacity: plan.upstreams.count + 1)
    rotations = .allocate(capacity: plan.upstreams.count + 1)
    rotations.initialize(repeating: 0, count: plan.upstreams.count + 1)
    var count = 0
    for (i, upstream) in plan.upstreams.enumerated() {
      (offsets + i).initialize(to: count)
      count += upstream.servers.count
    }
    total = count
    states = .allocate(capacity: max(count, 1))
    states.initialize(repeating: ServerState(), count: max(count, 1))
  }

  func deallocate() {
    states.deallocate()
    offsets.deallocate()
    rotations.deallocate()
  }

  @inline(__always)
  func server(_ group: Int32, _ server: Int32) -> UnsafeMutablePointer<ServerState> {
    states + offsets[Int(group)] + Int(server)
  }

  var idleTotal: Int {
    var sum = 0
    for i in 0..<total { sum += states[i].idleCount }
    return sum
  }

  var activeTotal: Int {
    var sum = 0
    for i in 0..<total { sum += states[i].active }
    return sum
  }

  /// A server for the next request; `avoid` is the one that just failed, or -1.
  @inline(__always)
  func choose(
    _ group: Int32, _ plan: UpstreamPlan, avoid: Int32, now: Int64, random: UInt32
  ) -> Int32 {
    if plan.servers.count == 1 { return 0 }
    return chooseAmong(group, plan, avoid: avoid, now: now, random: random)
  }

  private func chooseAmong(
    _ group: Int32, _ plan: UpstreamPlan, avoid: Int32, now: Int64, random: UInt32
  ) -> Int32 {
    let count = plan.servers.count
    func usable(_ i: Int) -> Bool {
      Int32(i) != avoid && server(group, Int32(i)).pointee.downUntil <= now
    }
    let anyUsable = (0..<count).contains(where: usable)
    func eligible(_ i: Int) -> Bool { anyUsable ? usable(i) : Int32(i) != avoid }
    switch plan.balance {
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
    _ group: Int32, _ plan: UpstreamPlan, _ eligible: (Int) -> Bool
  ) -> Int32 {
    var best: Int32 = -1
    var sum = 0
    for i in plan.servers.indices where eligible(i) {
      let state = server(group, Int32(i))
      state.pointee.current += Int(plan.servers[i].weight)
      sum += Int(plan.servers[i].weight)
      if best < 0 || state.pointee.current > server(group, best).pointee.current {
        best = Int32(i)
      }
    }
    if best >= 0 { server(group, best).pointee.current -= sum }
    return max(best, 0)
  }

  private func least(
    _ group: Int32, _ plan: UpstreamPlan, _ eligible: (Int) -> Bool
  ) -> Int32 {
    var best: Int32 = -1
    let count = plan.servers.count
    rotations[Int(group)] = (rotations[Int(group)] + 1) % count
    for offset in 0..<count {
      let i = (rotations[Int(group)] + offset) % count
      guard eligible(i) else { continue }
      if best < 0 || load(group, plan, Int32(i)) < load(group, plan, best) { best = Int32(i) }
    }
    return max(best, 0)
  }

  /// Requests per unit of weight, counting the one to come.
  private func load(_ group: Int32, _ plan: UpstreamPlan, _ index: Int32) -> Double {
    Double(server(group, index).pointee.active + 1) / Double(plan.servers[Int(index)].weight)
  }

  private func pick(_ count: Int, _ random: UInt32, _ eligible: (Int) -> Bool) -> Int32 {
    let start = Int(random) % count
    for offset in 0..<count where eligible((start + offset) % count) {
      return Int32((start + offset) % count)
    }
    return Int32(start)
  }
}
