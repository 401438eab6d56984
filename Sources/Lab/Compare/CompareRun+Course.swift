// The course of a comparison in slices: batch after batch goes to what is undecided, with a look at the
// figures after each quarter of the time, until nothing is open or the time is over.

import Glibc
import MillraceEngine

/// Numbers of the course that go on.
private struct CourseState {
  var planner: SlicePlanner
  var begun: Int64
  var planned: Double
  var batch = 0
  var block = 0
  var look = 1
  /// Seconds at which something was last said.
  var told = 0.0
  var needs: [SliceNeed] = []
  var sums = NoiseSums()

  var passed: Double { Double(SystemClock.monotonicNanoseconds() - begun) / 1e9 }
}

/// What the machine did, summed over the slices.
private struct NoiseSums {
  var stolen = 0.0
  var elsewhere = 0.0
  var idle = 0.0
  var seconds = 0.0

  mutating func add(_ taken: SliceTaken) {
    stolen += taken.facts.stolen
    elsewhere += taken.facts.elsewhere
    idle += taken.idleSeconds
    seconds += taken.after.seconds(since: taken.before)
  }
}

extension CompareRun {
  /// Batches of stages that decide nothing.
  private static let batchesForInterest = 8
  /// Seconds that the end of a comparison takes: ending the subjects, the report.
  private static let ending = 4.0

  /// - Parameter started: monotonic nanoseconds at which the comparison began.
  mutating func runSlices(
    _ bench: SliceBench, seconds: Double, started: Int64
  ) throws(CompareFailure) {
    let minutes = options.minutes ?? (options.isQuick ? 1 : 5)
    let now = SystemClock.monotonicNanoseconds()
    let left = minutes * 60 - Double(now - started) / 1e9 - Self.ending
    var state = CourseState(
      planner: SlicePlanner(seed: options.seed), begun: now, planned: max(10, left))
    comparison.course.method = "slices"
    comparison.course.stolenBound = SliceRule.stolen
    comparison.course.plannedSeconds = state.planned
    comparison.workload.countedSeconds = seconds
    comparison.workload.warmUpSeconds = Self.sliceWarmUp
    comparison.machine.settings["seconds per measurement"] =
      "slices of \(Int((seconds * 1000).rounded())) ms, after \(Int(Self.sliceWarmUp * 1000)) ms"
      + " of load that are not counted"
    printProgress(
      "slices of \(Int((seconds * 1000).rounded())) ms, for"
        + " \(Int(state.planned)) seconds at most")
    state.needs = openNeeds(bench, look: 1)
    let each = seconds + Self.sliceWarmUp + Self.sliceOverhead
    while !state.needs.isEmpty {
      guard let need = state.planner.choose(state.needs, seconds: each) else { break }
      // A batch that would not end in time is not begun.
      let takes = each * Double(need.subjects.count * SlicePlanner.blocks)
      if state.passed + takes > state.planned, state.batch > 0 { break }
      try runBatch(bench, need, &state, seconds: seconds)
      tellProgress(&state)
      let look = Looks.number(state.passed / state.planned)
      if look > state.look || state.needs.contains(where: { hasFailed($0.subjects) }) {
        state.needs = openNeeds(bench, look: look)
        if look > state.look { tellLook(state, look) }
        state.look = look
      }
    }
    finish(state)
  }

  private func hasFailed(_ names: [String]) -> Bool {
    trials.contains { names.contains($0.facts.name) && $0.facts.failure != nil }
  }

  private mutating func finish(_ state: CourseState) {
    comparison.course.seconds = state.passed
    let slices = Double(max(1, comparison.course.slices))
    comparison.course.stolen = state.sums.stolen / slices
    comparison.course.elsewhere = state.sums.elsewhere / slices
    comparison.course.idle = state.sums.seconds > 0 ? state.sums.idle / state.sums.seconds : 0
    comparison.subjects = trials.map(\.facts)
    comparison.machine.settings["rounds"] =
      "none: \(comparison.course.slices) slices in \(state.batch) batches"
  }

  // MARK: A batch

  private mutating func runBatch(
    _ bench: SliceBench, _ need: SliceNeed, _ state: inout CourseState, seconds: Double
  ) throws(CompareFailure) {
    state.batch += 1
    let rate = comparison.stages.first { $0.name == need.stage }?.rate
    var taken: [String: [SliceTaken]] = [:]
    for order in state.planner.orders(need.subjects) {
      state.block += 1
      // All of a block ask for the same.
      let seed = state.planner.seed()
      for name in order {
        guard let subject = bench[name], trials[subject.index].facts.failure == nil else {
          continue
        }
        do {
          var slice = try slice(bench, subject, rate: rate, seconds: seconds, seed: seed)
          slice.facts.block = state.block
          note(slice, &state)
          if SliceRule.leavesOut(
            stolen: slice.facts.stolen, leftOut: comparison.course.leftOut,
            of: comparison.course.slices)
          {
            comparison.course.leftOut += 1
          } else {
            taken[name, default: []].append(slice)
          }
        } catch {
          guard error.status == 1 else { throw error }
          trials[subject.index].facts.failure = error.description
          printProgress("\(name): left out from here on: \(error.description)")
        }
      }
    }
    for name in need.subjects {
      guard let slices = taken[name], let subject = bench[name] else { continue }
      add(slices, subject, need.stage, state)
    }
  }

  private mutating func note(_ slice: SliceTaken, _ state: inout CourseState) {
    state.sums.add(slice)
    var course = comparison.course
    course.slices += 1
    course.stolenMaximum = max(course.stolenMaximum, slice.facts.stolen)
    course.elsewhereMaximum = max(course.elsewhereMaximum, slice.facts.elsewhere)
    if let cpu = comparison.machine.proxyProcessors.first,
      let kilohertz = Double(
        TextFile.read("/sys/devices/system/cpu/cpu\(cpu)/cpufreq/scaling_cur_freq")
          .prefix { $0 != "\n" })
    {
      let now = kilohertz / 1000
      course.megahertzLowest = course.megahertzLowest > 0 ? min(course.megahertzLowest, now) : now
      course.megahertzHighest = max(course.megahertzHighest, now)
    }
    comparison.course = course
  }

  private mutating func add(
    _ slices: [SliceTaken], _ subject: SliceSubject, _ stage: String, _ state: CourseState
  ) {
    var measured = slices.measurement(comparison.machine.proxyProcessors)
    measured.round = state.batch
    measured.stage = stage
    measured.subject = subject.name
    measured.look = state.look
    measured.residentBytes = subject.tree.residentBytes()
    judge(&measured)
    var trial = trials[subject.index]
    fill(&measured, &trial, slices.metricsView)
    trials[subject.index] = trial
    if let calls = callsPerRequest[subject.name + " " + stage] {
      measured.systemCalls = Int((calls * measured.requestsInTime).rounded())
    }
    measured.load = Self.coarsened(measured.load)
    comparison.measurements.append(measured)
  }

  // MARK: What is open

  /// Everything before the first look; afterwards what the figures leave undecided.
  private mutating func openNeeds(_ bench: SliceBench, look: Int) -> [SliceNeed] {
    comparison.subjects = trials.map(\.facts)
    // What would decide it takes the time so far for its measure.
    comparison.course.seconds = max(1, comparison.course.seconds)
    let judge = look > 1 ? Judge(comparison) : nil
    let paired = judge?.paired ?? PairedRatios(comparison)
    let variants = names(.variant)
    let peers = names(.peer)
    var needs: [SliceNeed] = []
    for stage in comparison.stages {
      let isDecisive = paired.decides(stage)
      let hasOpen = judge.map { isOpen($0.candidates, stage, isDecisive) } ?? true
      if variants.count > 1, hasOpen {
        needs.append(
          SliceNeed(
            stage: stage.name, subjects: variants, weight: isDecisive ? 2 : 0.5,
            isInformational: !isDecisive))
      }
      guard !stagesForVariantsOnly.contains(stage.name) else { continue }
      let open = peers.filter { peer in
        guard let judge else { return true }
        return isOpen(judge.peers.filter { $0.other.name == peer }, stage, isDecisive)
      }
      if !open.isEmpty {
        needs.append(
          SliceNeed(
            stage: stage.name, hasPeers: true, subjects: variants + open, weight: 2.5,
            isInformational: !isDecisive))
      }
    }
    // What decides nothing does not keep a run going.
    return look > 1 && needs.allSatisfy(\.isInformational) ? [] : needs
  }

  private func isOpen(_ candidates: [Candidate], _ stage: StageFacts, _ isDecisive: Bool) -> Bool {
    guard isDecisive else {
      return comparison.measurements.count {
        $0.stage == stage.name && $0.subject == comparison.baseline
      } < Self.batchesForInterest
    }
    return candidates.contains { candidate in
      candidate.decisive.contains {
        $0.stage == stage.name && ($0.outcome == .undecided || $0.isTooFew)
      }
    }
  }

  private func tellProgress(_ state: inout CourseState) {
    guard state.passed > state.told + 15 else { return }
    state.told = state.passed
    printProgress(
      "[\(Int(state.passed)) of \(Int(state.planned)) s] \(comparison.course.slices) slices in"
        + " \(state.batch) batches")
  }

  private func tellLook(_ state: CourseState, _ look: Int) {
    let open = state.needs.map { "\($0.stage)\($0.hasPeers ? " (peers)" : "")" }
    printProgress(
      "[\(Int(state.passed)) s] \(comparison.course.slices) slices, look \(look - 1) of"
        + " \(Looks.count - 1): "
        + (open.isEmpty ? "everything is decided" : "undecided at \(open.joined(separator: ", "))"))
  }
}

extension Ratio {
  /// Not yet measured often enough, which more time changes.
  var isTooFew: Bool {
    guard outcome == .none else { return false }
    if reason == Pair.tooFewBeyond { return true }
    return pairs < SliceSeries.fewest && (pairs > 0 || reason == Pair.notMeasured)
  }
}
