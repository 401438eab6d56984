// What the judge has found, as the verdict that a report shows: its headline, its grade, and the order of its
// reasons.

extension Comparison {
  /// Fills `ratios` and `verdict` from the measurements. The same measurements and seed give the
  /// same values.
  public mutating func conclude() { conclude(resamples: Bootstrap.resamples) }

  /// - Parameter resamples: of each interval of rounds. Fewer make it less exact.
  mutating func conclude(resamples: Int) {
    let judge = Judge(self, resamples: resamples)
    ratios = judge.candidates.flatMap(\.ratios) + judge.peers.flatMap(\.ratios)
    verdict = VerdictWriter(judge).verdict()
  }
}

struct VerdictWriter {
  private let judge: Judge
  private let sentences: Sentences

  init(_ judge: Judge) {
    self.judge = judge
    sentences = Sentences(judge)
  }

  func verdict() -> Verdict {
    var verdict = Verdict()
    let (candidates, peers) = (judge.candidates, judge.peers)
    guard let baseline = judge.baseline, !(candidates.isEmpty && peers.isEmpty) else {
      verdict.headline = "No verdict: fewer than two subjects were measured."
      verdict.reasons = sentences.failures()
      return verdict
    }
    let main = judge.winner ?? judge.leading
    if let main {
      (verdict.headline, verdict.recommended) = headline(main, baseline)
      verdict.grade = grade(main)
      verdict.reasons =
        sentences.decisive(main) + sentences.stakes(main)
        + sentences.certain(main)
      verdict.reasons += sentences.costs(main)
      verdict.reasons += candidates.filter { $0.subject.name != main.subject.name }
        .map(sentences.summary)
    } else {
      verdict.headline =
        "Only \(baseline.name) was measured, against \(sentences.list(peers.map(\.other.name)))."
    }
    verdict.reasons.insert(contentsOf: sentences.choice(), at: 0)
    verdict.reasons += peers.map(sentences.peer)
    verdict.reasons += sentences.failures() + sentences.targets() + sentences.limits()
    verdict.reasons += sentences.noise()
    verdict.wouldChange = Prospects(judge).sentences(main)
    return verdict
  }

  private func grade(_ main: Candidate) -> String {
    switch main.standing {
    case .wins, .loses, .trades: return "decided"
    case .same: return "same"
    case .undecided, .unmeasured:
      return main.likelyGains.isEmpty && main.likelyLosses.isEmpty ? "undecided" : "likely"
    }
  }

  private func headline(
    _ main: Candidate, _ baseline: SubjectFacts
  ) -> (String, String?) {
    let name = main.subject.name
    let base = baseline.name
    if let why = judge.refusal(of: baseline), main.subject.name != judge.winner?.subject.name {
      return (
        "No recommendation: \(sentences.targetName) does not support \(base) (\(why)), the baseline of the"
          + " comparison, and no supported variant was found to be better.", nil
      )
    }
    switch main.standing {
    case .wins:
      let brings = sentences.list(main.gains.headlineOrder.map(\.inWords))
      guard let refusal = judge.refusal(of: main.subject) else {
        let but = sentences.likelyAgainst(main, isWin: true)
        return (
          "\(name): \(brings) against \(base)\(but)\(sentences.whereAllowed(main.subject)).", name
        )
      }
      return (
        "Stay with \(base): \(name) would give \(brings), but \(sentences.targetName) does not support it"
          + " (\(refusal)).", base
      )
    case .trades:
      return (
        "Stay with \(base), unless \(sentences.list(main.gains.map(\.label))) matters more than"
          + " \(sentences.list(main.losses.map(\.label))): \(name) gives"
          + " \(sentences.list(main.gains.headlineOrder.map(\.inWords))), and costs"
          + " \(sentences.list(main.losses.headlineOrder.map(\.inWords)))"
          + "\(sentences.likelyBesides(main)).", base
      )
    case .loses:
      return (
        "Stay with \(base): with \(name) it is"
          + " \(sentences.list(main.losses.headlineOrder.map(\.inWords)))"
          + "\(sentences.likelyAgainst(main, isWin: false)).", base
      )
    case .same:
      let but = sentences.unmeasured(main)
      return (
        "No relevant difference between \(name) and \(base)\(but): stay with \(base).", nil
      )
    case .undecided:
      if let likely = sentences.likely(main) { return (likely, nil) }
      return (
        "Undecided between \(name) and \(base)\(sentences.moreRounds(main))."
          + sentences.certainInShort(main), nil
      )
    case .unmeasured:
      let why = main.decisive.compactMap(\.reason).first ?? "nothing was measured"
      return ("No verdict on \(name) against \(base): \(why).", nil)
    }
  }
}
