// Every state that an exchange can reach, by every event that can occur in it. The order of the search
// makes the shortest way to a broken rule the one that is shown.

import Testing

@testable import Exchange

@Suite("All reachable states of an exchange")
struct ExplorationTests {
  /// Marks that make a flow empty, partial or full.
  static let limits = ExchangeState.Limits(
    flow: Flow.Limits(low: 1, high: 2), heldContent: 1, heldBytes: 3, interims: 1)

  struct Setting: Sendable {
    let name: String
    let options: ExchangeState.Options
    var hasContent = true
  }

  static let settings: [Setting] = [
    Setting(
      name: "unaudited", options: .hasDownstream | .isIdempotent | .takesInterims),
    Setting(
      name: "audited", options: .hasDownstream | .audits | .tellsUnprocessed),
    Setting(
      name: "before_response",
      options: .hasDownstream | .audits | .awaitsRecords | .isIdempotent),
    Setting(
      name: "expectation", options: .hasDownstream | .expectsContinue | .takesInterims),
    Setting(
      name: "upgrade", options: .hasDownstream | .asksUpgrade | .isIdempotent, hasContent: false),
    Setting(
      name: "upgrade, audited", options: .hasDownstream | .audits | .asksUpgrade, hasContent: false),
    Setting(
      name: "upgrade, before_response",
      options: .hasDownstream | .audits | .awaitsRecords | .asksUpgrade, hasContent: false),
    Setting(
      name: "upgrade with content", options: .hasDownstream | .asksUpgrade),
    Setting(name: "without a downstream", options: .isIdempotent | .audits | .awaitsRecords),
  ]

  @Test("Every rule holds in every state, and every state leads to an end")
  func exploration() {
    var unseen = Set(Event.all)
    var (states, steps) = (0, 0)
    for setting in Self.settings {
      let start = Walker(
        ExchangeState(setting.options, hasContent: setting.hasContent, limits: Self.limits))
      var search = Search(start)
      search.run()
      print("\(setting.name): \(search.walkers.count) states, \(search.steps) steps")
      if let broken = search.broken {
        Issue.record("\(setting.name): \(broken)")
        continue
      }
      if let stuck = search.stuck() { Issue.record("\(setting.name): no end from: \(stuck)") }
      unseen.subtract(search.seen)
      states += search.walkers.count
      steps += search.steps
    }
    print("together: \(states) states, \(steps) steps")
    #expect(unseen.isEmpty, "never offered: \(unseen)")
  }
}

/// A breadth-first search.
struct Search {
  var walkers: [Walker] = []
  /// For each state the one that it was first reached from, and by what.
  var parents: [(from: Int32, event: Event)] = []
  var numbers: [Walker.Key: Int32] = [:]
  /// Arrows of progress, for the search backwards.
  var progress: [(from: Int32, to: Int32)] = []
  var canFinish: [Int32] = []
  var seen = Set<Event>()
  var steps = 0
  var broken: String?

  init(_ start: Walker) {
    walkers = [start]
    parents = [(-1, .requestHead)]
    numbers[start.key] = 0
  }

  mutating func run() {
    var at = 0
    while at < walkers.count, broken == nil {
      let walker = walkers[at]
      var number = 0
      while number < Event.all.count {
        let event = Event.all[number]
        if walker.isPossible(event) { step(walker, Int32(at), event) }
        number += 1
      }
      at += 1
    }
  }

  private mutating func step(_ walker: Walker, _ at: Int32, _ event: Event) {
    var next = walker
    next.apply(event)
    steps += 1
    seen.insert(event)
    if let rule = next.broken {
      if broken == nil { broken = "\(rule): \(way(to: at)) \(event) -> \(brief(next.state))" }
      return
    }
    if next.ledger.end != .none {
      if event.isProgress && next.ledger.end == .finished { canFinish.append(at) }
      return
    }
    let key = next.key
    var number = Int32(walkers.count)
    if let known = numbers[key] {
      number = known
    } else {
      numbers[key] = number
      walkers.append(next)
      parents.append((at, event))
    }
    if event.isProgress { progress.append((at, number)) }
  }

  private func brief(_ s: ExchangeState) -> String {
    """
    stage=\(s.stage) mode=\(s.mode) request=\(s.request) upstream=\(s.upstream) \
    response=\(s.response) delivery=\(s.delivery) record=\(s.audit.record) gate=\(s.audit.gate) \
    hold=\(s.audit.hold) held=\(s.audit.heldBytes) requestWaits=\(s.requestFlow.waiting) \
    responseWaits=\(s.responseFlow.waiting) paused=\(s.requestFlow.isPaused),\
    \(s.responseFlow.isPaused) ending=\(s.ending)
    """
  }

  /// The events that lead to a state.
  func way(to number: Int32) -> String {
    var names: [String] = []
    var at = number
    while at > 0 {
      let (from, event) = parents[Int(at)]
      names.append("\(event)")
      at = from
    }
    return names.reversed().joined(separator: " ")
  }

  /// A state from which no events of progress lead to a delivered end, or nil.
  func stuck() -> String? {
    var before: [[Int32]] = Array(repeating: [], count: walkers.count)
    for arrow in progress { before[Int(arrow.to)].append(arrow.from) }
    var leads = Array(repeating: false, count: walkers.count)
    var open: [Int32] = []
    for number in canFinish where !leads[Int(number)] {
      leads[Int(number)] = true
      open.append(number)
    }
    while let number = open.popLast() {
      for from in before[Int(number)] where !leads[Int(from)] {
        leads[Int(from)] = true
        open.append(from)
      }
    }
    guard let first = leads.firstIndex(of: false) else { return nil }
    return "\(way(to: Int32(first))): \(brief(walkers[first].state))"
  }
}
