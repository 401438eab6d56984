// What is not decided, in words: what is likely, with its odds; what it costs if that is wrong; and the
// minutes that would decide it.

import Glibc

extension Sentences {
  /// The end of a sentence on a quantity that is undecided.
  func open(_ ratio: Ratio) -> String {
    guard ratio.likely != .none else {
      return "undecided, \(ratio.reason ?? "")" + (isSliced ? "; \(time(ratio))" : "")
    }
    return "likely \(ratio.likely.rawValue), odds \(odds(ratio))"
      + (isSliced ? "; \(time(ratio))" : "")
  }

  /// "30 to 1": how probable the sign is, if nothing was known beforehand.
  func odds(_ ratio: Ratio) -> String {
    guard let probability = ratio.probability, probability > 0.5 else { return "even" }
    let odds = probability / max(1 - probability, 1e-9)
    guard odds < 1000 else { return "over 999 to 1" }
    return "\(Int(odds < 20 ? odds.rounded() : (odds / 10).rounded() * 10)) to 1"
  }

  private func time(_ ratio: Ratio) -> String {
    guard let minutes = ratio.minutes else {
      return "the estimate lies at the ±2% bound, where no number of minutes decides"
    }
    return "\(length(minutes)) would decide it"
  }

  /// "about 12 minutes (--minutes 12)".
  private func length(_ minutes: Double) -> String {
    guard minutes < 600 else { return "more than ten hours" }
    let whole = Int(minutes.rounded(.up)) + 1
    return whole < 120
      ? "about \(whole) minutes" : "about \(Int((minutes / 60).rounded(.up))) hours"
  }

  /// " (p99 and CPU per request): about 12 minutes would decide p99; …".
  func moreMinutes(_ candidate: Candidate) -> String {
    let clauses = candidate.undecided.sorted {
      ($0.minutes ?? .infinity) < ($1.minutes ?? .infinity)
    }
    .map { ratio in
      ratio.minutes.map { "\(length($0)) would decide \(ratio.label)" }
        ?? "\(ratio.label) lies at the ±2% bound (\(ratio.withInterval))"
    }
    return " (\(list(candidate.undecided.map(\.label)))): " + clauses.joined(separator: "; ")
  }

  /// For what could change the verdict: one call that decides all that can be decided.
  func minutesThatDecide(_ candidate: Candidate) -> [String] {
    let decidable = candidate.undecided.filter { ($0.minutes ?? .infinity) < 600 }
    guard let most = decidable.compactMap(\.minutes).max() else { return [] }
    let already = comparison.course.plannedSeconds / 60
    let whole = Int((most + max(0, 5 - already)).rounded(.up))
    return [
      "A longer run: --minutes \(whole) would decide \(list(decidable.map(\.label))), by the observed"
        + " variance."
    ]
  }

  /// A headline for what is undecided but likely; nil where nothing is.
  func likely(_ candidate: Candidate) -> String? {
    let (gains, losses) = (candidate.likelyGains, candidate.likelyLosses)
    let (name, base) = (candidate.subject.name, candidate.other.name)
    guard !(gains.isEmpty && losses.isEmpty) else { return nil }
    let brings = list(gains.headlineOrder.map(withOdds))
    let costs = list(losses.headlineOrder.map(withOdds))
    let rest = stillOpen(candidate)
    if losses.isEmpty {
      return
        "Likely \(name), not yet decided: \(brings) against \(base)\(rest). If that is wrong, it"
        + " costs \(worst(candidate))."
    }
    if gains.isEmpty {
      return
        "Likely stay with \(base), not yet decided: \(name) has \(costs)\(rest). If that is wrong,"
        + " staying misses \(best(candidate))."
    }
    return
      "Likely a trade-off, so stay with \(base): \(name) has \(brings), but \(costs)\(rest)."
  }

  private func stillOpen(_ candidate: Candidate) -> String {
    guard isSliced else { return moreRounds(candidate) }
    let open = candidate.undecided.filter { $0.likely == .none }
    return open.isEmpty ? "" : " (\(list(open.map(\.label))) open)"
  }

  /// What is likely against a headline that is decided: ", but likely p99 +40% (odds 50 to 1)".
  func likelyAgainst(_ candidate: Candidate, isWin: Bool) -> String {
    let found = isWin ? candidate.likelyLosses : candidate.likelyGains
    return found.isEmpty ? "" : ", but likely \(list(found.headlineOrder.map(withOdds)))"
  }

  /// What is likely beside a trade-off that is decided.
  func likelyBesides(_ candidate: Candidate) -> String {
    let found = candidate.likelyGains + candidate.likelyLosses
    return found.isEmpty ? "" : "; likely \(list(found.headlineOrder.map(withOdds)))"
  }

  private func withOdds(_ ratio: Ratio) -> String { "\(ratio.inWords) (odds \(odds(ratio)))" }

  func likelyPeer(_ candidate: Candidate, _ peer: String) -> String? {
    let (gains, losses) = (candidate.likelyGains, candidate.likelyLosses)
    let name = candidate.subject.name
    switch (gains.isEmpty, losses.isEmpty) {
    case (false, true): return "\(name) is likely ahead of \(peer): \(list(gains.map(withOdds)))."
    case (true, false):
      return "\(peer) is likely ahead of \(name), which has \(list(losses.map(withOdds)))."
    case (false, false):
      return "\(name) against \(peer) is likely a trade-off: \(list(gains.map(withOdds))), but"
        + " \(list(losses.map(withOdds)))."
    case (true, true): return nil
    }
  }

  // MARK: What it costs to be wrong

  /// The unfavourable ends of the intervals of what decides, "p99 up to +12%".
  func worst(_ candidate: Candidate) -> String { ends(candidate, isWorst: true) }
  private func best(_ candidate: Candidate) -> String { ends(candidate, isWorst: false) }

  private func ends(_ candidate: Candidate, isWorst: Bool) -> String {
    let found = candidate.decisive.headlineOrder.compactMap { ratio -> String? in
      guard let quantity = Quantity(rawValue: ratio.quantity), let low = ratio.low,
        let high = ratio.high
      else { return nil }
      let end = quantity.prefersMore == isWorst ? low : high
      guard quantity.prefersMore == isWorst ? end < 1 : end > 1 else { return nil }
      return "\(ratio.label) \(Figure.change(end))"
    }
    guard !found.isEmpty else {
      return isWorst ? "nothing: no interval reaches to its side" : "nothing"
    }
    return "at most \(list(found))"
  }

  /// What the recommendation costs if it is wrong.
  func stakes(_ candidate: Candidate) -> [String] {
    let (name, base) = (candidate.subject.name, candidate.other.name)
    guard candidate.decisive.contains(where: { $0.low != nil }) else { return [] }
    switch candidate.standing {
    case .wins:
      return [
        "If this is wrong (one time in a hundred), \(name) costs \(worst(candidate)): the"
          + " unfavourable ends of the intervals."
      ]
    case .loses, .trades, .same:
      return [
        "If staying with \(base) is wrong (one time in a hundred), it misses \(best(candidate)): the"
          + " favourable ends of \(name)'s intervals."
      ]
    case .undecided, .unmeasured: return []
    }
  }
}
