// The plans that one worker's connections are on: the current one, and older ones until their last
// connection ends. A connection names its listener, and an exchange its upstream, by an index that is
// unique among all of them, so that nobody asks which plan it is on.

import Configuration
import Glibc
import MillraceEngine

/// The generations of a worker.
struct LivePlan: ~Copyable {
  /// Plans that may be in use at once. One more waits until another has lost its last connection: a
  /// bound on memory, which only a reload in each of many long requests' lives can meet.
  static let windows = 16
  /// Upstreams of one plan: as many as a configuration may have.
  static let upstreamsPerWindow = 1024

  /// Settings of the newest plan.
  private(set) var current: Plan
  /// The place of the newest plan.
  private(set) var window = 0
  /// By the index that connections and exchanges carry.
  let listeners: UnsafeMutablePointer<ListenerPlan>
  let upstreams: UnsafeMutablePointer<UpstreamPlan>
  private let listenersPerWindow: Int
  private let generations: UnsafeMutablePointer<Unmanaged<PlanGeneration>?>
  /// Connections on the plan of each place.
  private let users: UnsafeMutablePointer<Int>
  /// The newest generation, while all places are in use.
  private var waiting: PlanGeneration?

  init(_ generation: PlanGeneration) {
    current = generation.plan
    listenersPerWindow = max(1, generation.plan.listeners.count)
    listeners = .allocate(capacity: Self.windows * listenersPerWindow)
    upstreams = .allocate(capacity: Self.windows * Self.upstreamsPerWindow)
    generations = .allocate(capacity: Self.windows)
    generations.initialize(repeating: nil, count: Self.windows)
    users = .allocate(capacity: Self.windows)
    users.initialize(repeating: 0, count: Self.windows)
    place(generation, at: 0)
  }

  /// Frees everything. No connection is left.
  consuming func end() {
    for window in 0..<Self.windows { generations[window]?.release() }
    listeners.deallocate()
    upstreams.deallocate()
    generations.deallocate()
    users.deallocate()
  }

  private mutating func place(_ generation: PlanGeneration, at place: Int) {
    let plan = generation.plan
    // Plain values: what was there before needs no deinitialisation.
    if let first = plan.listeners.baseAddress {
      (listeners + place * listenersPerWindow).initialize(
        from: first, count: min(plan.listeners.count, listenersPerWindow))
    }
    if let first = plan.upstreams.baseAddress {
      (upstreams + place * Self.upstreamsPerWindow).initialize(
        from: first, count: min(plan.upstreams.count, Self.upstreamsPerWindow))
    }
    generations[place] = .passRetained(generation)
    current = plan
    window = place
  }

  // MARK: The current plan

  var limits: LimitsConfiguration { current.limits }
  @inline(__always) var via: PlanBytes { current.via }
  var audit: AuditConfiguration? { current.audit }
  var drainDeadline: Int64 { current.drainDeadline }
  @inline(__always) var shortestTimeout: Int64 { current.shortestTimeout }
  @inline(__always) var lookInterval: Int64 { current.lookInterval }

  /// The index of a listener of the current plan.
  @inline(__always)
  func listener(_ place: Int) -> Int32 { Int32(window * listenersPerWindow + place) }

  /// The index of an upstream of the current plan.
  @inline(__always)
  func upstream(_ place: Int32) -> Int32 { Int32(window * Self.upstreamsPerWindow) + place }

  /// The index of an upstream of the plan whose listeners begin at this index.
  func upstream(_ place: Int32, ofListenersFrom first: Int) -> Int32 {
    Int32(first / listenersPerWindow * Self.upstreamsPerWindow) + place
  }

  /// A listener's place among those of its plan, which is the same in all plans.
  func place(ofListener index: Int32) -> Int { Int(index) % listenersPerWindow }

  /// Where a listener's figures are in a worker's block of metrics.
  @inline(__always)
  func row(ofListener index: Int32) -> Int32 { listeners[Int(index)].row }

  // MARK: Users

  /// A connection begins on the current plan. - Returns: its listener's index.
  @discardableResult
  mutating func join(_ place: Int) -> Int32 {
    users[window] += 1
    return listener(place)
  }

  /// A connection that has nothing in progress moves to the current plan.
  /// - Returns: its listener's index there, and the place of a plan that has lost its last user.
  mutating func adopt(_ index: Int32) -> (listener: Int32, retired: Int?) {
    let place = place(ofListener: index)
    let retired = leave(index)
    users[window] += 1
    return (listener(place), retired)
  }

  /// A connection ends. - Returns: the place of a plan that has lost its last user, to be retired.
  mutating func leave(_ index: Int32) -> Int? {
    let old = Int(index) / listenersPerWindow
    users[old] -= 1
    assert(users[old] >= 0, "a plan lost more connections than it had")
    return old != window && users[old] == 0 ? old : nil
  }

  @inline(__always)
  func isCurrent(_ index: Int32) -> Bool {
    let place = Int(index) - window * listenersPerWindow
    return place >= 0 && place < listenersPerWindow
  }

  /// Whether the plan of a place has no connection.
  func isUnused(_ place: Int) -> Bool { users[place] == 0 }

  // MARK: Replacing

  /// Makes a generation the current one.
  /// - Returns: the place of the one before; nil if the generation has to wait for a place.
  mutating func replace(with generation: PlanGeneration) -> Int? {
    guard let free = (0..<Self.windows).first(where: { generations[$0] == nil }) else {
      // A newer one takes the turn of one that waits: nobody was ever on that.
      waiting = generation
      return nil
    }
    waiting = nil
    let before = window
    place(generation, at: free)
    return before
  }

  /// Lets go of the plan of a place, which has no user any more.
  /// - Returns: the generation that waited for one.
  mutating func retire(_ place: Int) -> PlanGeneration? {
    assert(place != window && users[place] == 0, "a plan was retired that is in use")
    generations[place]?.release()
    generations[place] = nil
    return waiting
  }

  func isAlive(_ place: Int) -> Bool { generations[place] != nil }

  /// Plans in use.
  var alive: Int { (0..<Self.windows).count { generations[$0] != nil } }
}
