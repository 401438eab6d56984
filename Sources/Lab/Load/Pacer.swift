// When requests leave in an open loop: a sequence of planned moments that knows nothing of the
// server. A pacer is a plain value: a copy of it walks the same sequence again, which is how every
// server's lane finds its own moments, and how a backlog of millions needs no memory.

import Glibc

/// A moment at which a request is to leave.
struct PlannedRequest: Equatable {
  /// Nanoseconds from the start of the run.
  var offset: Int64
  var template: UInt32
}

/// Walks a thread's share of the planned moments, in order.
struct Pacer {
  private enum Kind {
    case constant(rate: Double)
    case poisson(meanGap: Double)
    case replay
  }

  private let kind: Kind
  private let source: PacingSource
  private let step: UInt64
  /// Number of the next moment: of the run's, or with Poisson gaps of the thread's.
  private var number: UInt64
  /// The first number that is not a moment of this run.
  private var end: UInt64
  private var random: LoadRandom
  /// Of Poisson gaps: the last moment, whole nanoseconds and the rest below one.
  private var reached: Int64 = 0
  private var fraction = 0.0
  /// Of Poisson gaps with a limit: moments from here on use it up.
  private let countFrom: Int64
  private var countLeft: Int

  /// - Parameters:
  ///   - thread: which of `threads` shares. Constant rates and replays give each thread every n-th
  ///     moment, so that the sum is the sequence itself; Poisson processes add up to one.
  init(_ source: PacingSource, thread: Int, of threads: Int) {
    self.source = source
    random = LoadRandom(seed: LoadRandom.mix(source.seed) ^ UInt64(thread) &* LoadRandom.golden)
    countFrom = source.warmUp
    countLeft = .max
    end = .max
    switch source.pacing {
    case .closed: preconditionFailure("a closed-loop load has no schedule")
    case .constant(let rate):
      precondition(rate > 0 && rate.isFinite, "a rate of \(rate)")
      kind = .constant(rate: rate)
      number = UInt64(thread)
      step = UInt64(threads)
      if let limit = source.limit {
        end = Self.firstNumber(from: source.warmUp, rate) + UInt64(limit)
      }
    case .poisson(let rate):
      precondition(rate > 0 && rate.isFinite, "a rate of \(rate)")
      kind = .poisson(meanGap: 1e9 / rate * Double(threads))
      // Threads choose templates from sequences that lie apart.
      number = UInt64(thread) << 48
      step = 1
      if let limit = source.limit {
        countLeft = limit / threads + (thread < limit % threads ? 1 : 0)
      }
    case .replay(let schedule):
      kind = .replay
      number = UInt64(thread)
      step = UInt64(threads)
      end = UInt64(schedule.sendTimes.count)
      if let limit = source.limit {
        let before =
          schedule.sendTimes.firstIndex { $0 >= source.warmUp } ?? schedule.sendTimes.count
        end = min(end, UInt64(before) + UInt64(limit))
      }
    }
  }

  /// The next moment; nil when there is none any more.
  @inline(__always)
  mutating func next() -> PlannedRequest? {
    guard number < end else { return nil }
    let number = self.number
    self.number += step
    switch kind {
    case .constant(let rate):
      return PlannedRequest(
        offset: Self.offset(number, rate), template: source.chooser.template(number))
    case .poisson(let meanGap):
      fraction += -log(random.unit()) * meanGap
      let whole = fraction.rounded(.down)
      reached += Int64(whole)
      fraction -= whole
      if reached >= countFrom {
        if countLeft == 0 {
          end = 0
          return nil
        }
        countLeft -= 1
      }
      return PlannedRequest(offset: reached, template: source.chooser.template(number))
    case .replay:
      return PlannedRequest(
        offset: source.sendTimes[Int(number)], template: source.templates[Int(number)])
    }
  }

  /// The moment with this number, from scratch: nothing adds up. The product and the quotient are
  /// each rounded to 53 bits, which stays below one nanosecond for 2⁵³ of them, 104 days.
  @inline(__always)
  static func offset(_ number: UInt64, _ rate: Double) -> Int64 {
    Int64(Double(number) * 1e9 / rate)
  }

  /// The first number whose moment is not before `offset`.
  static func firstNumber(from offset: Int64, _ rate: Double) -> UInt64 {
    var number = UInt64((Double(offset) * rate / 1e9).rounded(.down))
    while Self.offset(number, rate) < offset { number += 1 }
    return number
  }
}

/// What all pacers of a run read: the plan of its moments, in memory that does not move.
final class PacingSource: @unchecked Sendable {
  // Unchecked because of the pointers: nothing is written after init.

  let pacing: LoadPacing
  let chooser: RequestChooser
  let rows: RequestRows
  let seed: UInt64
  /// Nanoseconds that are not counted.
  let warmUp: Int64
  /// Counted moments; nil: no limit.
  let limit: Int?
  let sendTimes: UnsafeMutablePointer<Int64>
  let templates: UnsafeMutablePointer<UInt32>

  init(_ plan: LoadPlan) {
    pacing = plan.pacing
    chooser = RequestChooser(weights: plan.requests.map(\.weight), seed: plan.seed)
    rows = RequestRows(plan)
    seed = plan.seed
    warmUp = plan.warmUpNanoseconds
    limit = plan.requestLimit
    var schedule = LoadSchedule(sendTimes: [], templates: [])
    if case .replay(let given) = plan.pacing { schedule = given }
    precondition(
      schedule.sendTimes.count == schedule.templates.count, "a moment without a template")
    sendTimes = .allocate(capacity: max(1, schedule.sendTimes.count))
    templates = .allocate(capacity: max(1, schedule.templates.count))
    for (i, moment) in schedule.sendTimes.enumerated() { (sendTimes + i).initialize(to: moment) }
    for (i, template) in schedule.templates.enumerated() {
      (templates + i).initialize(to: template)
    }
  }

  deinit {
    sendTimes.deallocate()
    templates.deallocate()
  }
}
