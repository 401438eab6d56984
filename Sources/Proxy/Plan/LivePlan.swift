// The plans that one worker's connections are on: the current one, and older ones until their last
// connection ends. A connection names its listener, and an exchange its upstream, by an index that is
// unique among all of them, so that nobody asks which plan it is on.

import Configuration
import Glibc
import MillraceEngine

/// The generations of a worker.
struct LivePlan: ~Copyable {
  /// Plans that may be in use at once: as many as a word has bits (`PlanUse.places`). One more waits until
  /// another has lost its last connection, which only tunnels and long requests that began on so many
  /// plans can bring about.
  static let windows = 64
  /// Listeners of one plan: as many as a configuration may have. A power of two.
  static let listenersPerWindow = 256
  /// Upstreams of one plan: as many as a configuration may have.
  static let upstreamsPerWindow = 1024

  /// Settings of the newest plan.
  private(set) var current: Plan
  /// The place of the newest plan.
  private(set) var window = 0
  /// By the index that connections and exchanges carry.
  let listeners: UnsafeMutablePointer<ListenerPlan>
  let upstreams: UnsafeMutablePointer<UpstreamPlan>
  private let routes: UnsafeMutablePointer<UnsafeBufferPointer<RoutePlan>>
  private let generations: UnsafeMutablePointer<Unmanaged<PlanGeneration>?>
  /// Connections on the plan of each place.
  private let users: PlanUsers
  /// The newest generation, while all places are in use.
  private var waiting: PlanGeneration?

  init(_ generation: PlanGeneration, users: PlanUsers = PlanUsers()) {
    current = generation.plan
    listeners = .allocate(capacity: Self.windows * Self.listenersPerWindow)
    upstreams = .allocate(capacity: Self.windows * Self.upstreamsPerWindow)
    routes = .allocate(capacity: Self.windows)
    routes.initialize(
      repeating: UnsafeBufferPointer(start: nil, count: 0), count: Self.windows)
    generations = .allocate(capacity: Self.windows)
    generations.initialize(repeating: nil, count: Self.windows)
    self.users = users
    place(generation, at: 0)
  }

  /// Frees everything. No connection is left.
  consuming func end() {
    for window in 0..<Self.windows { generations[window]?.release() }
    listeners.deallocate()
    upstreams.deallocate()
    routes.deallocate()
    generations.deallocate()
  }

  private mutating func place(_ generation: PlanGeneration, at place: Int) {
    let plan = generation.plan
    // Plain values: what was there before needs no deinitialisation.
    if let first = plan.listeners.baseAddress {
      (listeners + place * Self.listenersPerWindow).initialize(
        from: first, count: min(plan.listeners.count, Self.listenersPerWindow))
    }
    if let first = plan.upstreams.baseAddress {
      (upstreams + place * Self.upstreamsPerWindow).initialize(
        from: first, count: min(plan.upstreams.count, Self.upstreamsPerWindow))
    }
    routes[place] = plan.routes
    generations[place] = .passRetained(generation)
    users.place(generation.number, at: place)
    current = plan
    window = place
  }

  // MARK: The current plan

  var limits: LimitsConfiguration { current.limits }
  @inline(__always) var via: PlanBytes { current.via }
  var audit: AuditConfiguration? { current.audit }
  var drainDeadline: Int64 { current.drainDeadline }
  var tunnelDeadline: Int64 { current.tunnelDeadline }
  @inline(__always) var shortestTimeout: Int64 { current.shortestTimeout }
  @inline(__always) var lookInterval: Int64 { current.lookInterval }

  /// The index of a listener of the current plan.
  @inline(__always)
  func listener(_ place: Int) -> Int32 { Int32(window * Self.listenersPerWindow + place) }

  /// Indices of the listeners of the current plan.
  var currentListeners: Range<Int32> { listener(0)..<listener(current.listeners.count) }

  // MARK: A connection's plan

  /// The place of the plan that a listener is of.
  @inline(__always)
  private static func window(of listener: Int32) -> Int {
    Int(UInt32(bitPattern: listener)) / listenersPerWindow
  }

  /// The index of an upstream of the plan that a listener is of.
  @inline(__always)
  func upstream(_ place: Int32, ofPlanOf listener: Int32) -> Int32 {
    Int32(Self.window(of: listener) * Self.upstreamsPerWindow) + place
  }

  /// The routes of the plan that a listener is of.
  @inline(__always)
  func routes(ofPlanOf listener: Int32) -> UnsafeBufferPointer<RoutePlan> {
    routes[Self.window(of: listener)]
  }

  /// A listener's place among those of its plan, by which routes name it.
  @inline(__always)
  func place(ofListener index: Int32) -> Int32 {
    index & Int32(Self.listenersPerWindow - 1)
  }

  /// Where a listener's figures are in a worker's block of metrics.
  @inline(__always)
  func row(ofListener index: Int32) -> Int32 { listeners[Int(index)].row }

  /// What a listener of the current plan is called now, of whichever plan it was.
  /// - Returns: nil if that has none of the kind: it was removed.
  func successor(of index: Int32) -> Int32? {
    let identity = listeners[Int(index)].identity
    let first = listener(0)
    // Most stay where they were.
    let same = Int(place(ofListener: index))
    if same < current.listeners.count, current.listeners[same].identity == identity {
      return first + Int32(same)
    }
    return current.listeners.firstIndex { $0.identity == identity }.map { first + Int32($0) }
  }

  /// The connections of a listener of a plan end: no request is waited for any more.
  func endListener(_ index: Int32) { listeners[Int(index)].isEnding = true }

  /// Those of all listeners of all plans do.
  func endListeners() {
    for place in 0..<Self.windows {
      guard let generation = generations[place] else { continue }
      let first = place * Self.listenersPerWindow
      let count = generation._withUnsafeGuaranteedRef { $0.plan.listeners.count }
      for index in first..<(first + count) { listeners[index].isEnding = true }
    }
  }

  // MARK: Users

  private static func bit(_ listener: Int32) -> UInt64 {
    1 << UInt64(window(of: listener))
  }

  /// A connection begins. - Parameter listener: its index.
  mutating func join(_ listener: Int32) -> PlanUse {
    users[Self.window(of: listener)] += 1
    return PlanUse(listener: listener, places: Self.bit(listener))
  }

  /// Whether a connection holds the current plan and no other one.
  @inline(__always)
  func isCurrent(_ use: PlanUse) -> Bool { use.places == 1 << UInt64(window) }

  /// A connection that has nothing in progress moves to the current plan, unless its listener is gone from that.
  /// - Parameter unused: takes the places of plans that have lost their last user, to be retired.
  mutating func adopt(_ use: inout PlanUse, unused: inout [Int]) {
    let moved = successor(of: use.listener) ?? use.listener
    let kept = Self.bit(moved)
    if use.places & kept == 0 { users[Self.window(of: moved)] += 1 }
    leave(use.places & ~kept, &unused)
    use = PlanUse(listener: moved, places: kept)
  }

  /// A connection of HTTP/2 with streams in progress goes on by the current plan, and holds those that its
  /// streams began on.
  mutating func follow(_ use: inout PlanUse) {
    guard let moved = successor(of: use.listener), use.places & Self.bit(moved) == 0 else { return }
    users[window] += 1
    use = PlanUse(listener: moved, places: use.places | Self.bit(moved))
  }

  /// A connection ends.
  mutating func leave(_ use: PlanUse, unused: inout [Int]) { leave(use.places, &unused) }

  private func leave(_ places: UInt64, _ unused: inout [Int]) {
    var left = places
    while left != 0 {
      let place = left.trailingZeroBitCount
      left &= left - 1
      users[place] -= 1
      assert(users[place] >= 0, "a plan lost more connections than it had")
      if place != window && users[place] == 0 { unused.append(place) }
    }
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
    users.place(0, at: place)
    return waiting
  }

  func isAlive(_ place: Int) -> Bool { generations[place] != nil }

  /// Plans in use.
  var alive: Int { (0..<Self.windows).count { generations[$0] != nil } }
}
