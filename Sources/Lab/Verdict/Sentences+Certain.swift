// What does not depend on the clock, in words, and what the machine did meanwhile. Counts are certain where
// times are not: a neighbour that takes the CPU away changes when a system call is made, and hardly
// whether it is.

extension Sentences {
  /// Counts in the order in which they are told.
  private static let counts: [(quantity: Quantity, noun: String)] = [
    (.systemCallsPerRequest, "system calls"), (.wakeUpsPerRequest, "wake-ups"),
    (.switchesPerRequest, "context switches"), (.completionsPerRequest, "completions"),
    (.instructionsPerRequest, "instructions"), (.copiedPerRequest, "bytes copied"),
  ]

  private func row(_ subject: SubjectFacts) -> Row? {
    judge.paired.decisiveStage.map {
      Row(subject, $0, judge.paired.measurements(subject.name, $0.name))
    }
  }

  /// Both figures of each count.
  private func figures(
    _ candidate: Candidate
  ) -> [(noun: String, quantity: Quantity, ours: Double, theirs: Double)] {
    guard let ours = row(candidate.subject), let theirs = row(candidate.other) else { return [] }
    return Self.counts.compactMap { quantity, noun in
      guard let a = ours.median(quantity), let b = theirs.median(quantity) else { return nil }
      return (noun, quantity, a, b)
    }
  }

  /// "Whatever the clock says, a request takes io_uring 0.21 system calls (epoll: 3.9), …".
  func certain(_ candidate: Candidate) -> [String] {
    let found = figures(candidate)
    guard !found.isEmpty else { return [] }
    let parts = found.map { each in
      "\(Figure.three(each.ours)) \(each.noun) (\(Figure.three(each.theirs)))"
    }
    var sentence =
      "Independent of the clock: a request takes \(candidate.subject.name)"
      + " (\(candidate.other.name)) \(list(parts))"
    if let a = row(candidate.subject)?.median(.memory),
      let b = row(candidate.other)?.median(.memory)
    {
      sentence += "; memory \(Figure.bytes(a)) (\(Figure.bytes(b)))"
    }
    return [sentence + "."]
  }

  /// What counts say where times say nothing: only what differs by a quarter or more.
  func certainInShort(_ candidate: Candidate) -> String {
    let parts = figures(candidate).filter {
      $0.quantity != .completionsPerRequest
        && ($0.ours < $0.theirs / 1.25 || $0.ours > $0.theirs * 1.25)
    }.map { "\(Figure.change($0.ours / $0.theirs)) \($0.noun)" }
    guard !parts.isEmpty else { return "" }
    return
      " Certain, whatever the clock says: \(candidate.subject.name) has \(list(parts)) per request"
      + " against \(candidate.other.name)."
  }

  /// What decides, where it was chosen.
  func choice() -> [String] {
    let chosen = comparison.course.decidedBy.compactMap { DecidingQuantity($0) }
    guard !chosen.isEmpty else { return [] }
    let isUnequal = isSliced && !comparison.stages.allSatisfy(judge.paired.decides)
    return [
      "Deciding quantities (--decide-by): \(list(chosen.map(\.words))). Other quantities are reported as"
        + " gains and costs."
        + (isUnequal ? " Stages without a deciding quantity had fewer slices." : "")
    ]
  }

  /// What the machine did during the slices.
  func noise() -> [String] {
    let course = comparison.course
    guard isSliced, course.slices > 0 else { return [] }
    var sentence =
      "Noise during \(course.slices) slices: steal \(Figure.percent(course.stolen)) of the CPU time"
      + " (at most \(Figure.percent(course.stolenMaximum))); what was not started here used"
      + " \(Figure.three(course.elsewhere)) CPUs (at most \(Figure.three(course.elsewhereMaximum)))"
    sentence +=
      course.megahertzHighest > 0
      ? "; \(Figure.three(course.megahertzLowest)) to \(Figure.three(course.megahertzHighest)) MHz"
      : "; the frequency is not visible"
    sentence +=
      ". Left out, because more than \(Figure.percent(course.stolenBound)) was stolen:"
      + " \(course.leftOut) slices (\(Figure.percent(Double(course.leftOut) / Double(course.slices))))."
    sentence +=
      " Subjects that were not asked used \(Figure.percent(course.idle)) of a CPU together"
      + (course.parked.isEmpty ? "." : "; stopped meanwhile: \(list(course.parked)).")
    var sentences = [sentence]
    if !course.neighbours.isEmpty {
      let cpus = list(course.neighbours.map(String.init))
      sentences.insert(
        "A neighbour of the same priority ran on CPU \(cpus) all the time (--neighbour): the figures"
          + " are those of a CPU that is shared, and its time is not in the machine's.", at: 0)
    }
    return sentences
  }
}
