// What changed between two comparisons, in a table; what could not be compared stands in rows of its
// own, so that nobody takes it for "nothing changed".

extension ComparisonAgainst {
  /// For the terminal; regressions last.
  public var text: String {
    var table = TextTable(["", "at", "quantity", "change", "99% interval", ""])
    for change in changes {
      table.add([
        change.subject, change.stage, Quantity(rawValue: change.quantity)?.label ?? change.quantity,
        Figure.change(change.ratio),
        "\(Figure.change(change.low)) to \(Figure.change(change.high))",
        change.isRegression ? "REGRESSION" : change.isImprovement ? "improved" : "",
      ])
    }
    for failure in failures {
      table.add([failure.subject, failure.stage ?? "all", "works", "–", "–", "REGRESSION"])
    }
    for gap in gaps {
      let label = Quantity(rawValue: gap.quantity)?.label ?? gap.quantity
      table.add([gap.subject, gap.stage, label, "–", "–", "NOT COMPARED"])
    }
    var out = "Against the earlier run\n" + table.text(width: ComparisonText.columns)
    if let reference {
      out += ComparisonText.wrap(
        "Divided by \(reference) of the same round, which cancels the machine's drift. The bound is"
          + " \(Figure.percent(Self.bound)).", "  ")
    } else {
      out += ComparisonText.wrap(
        "No peer was measured in both runs with the same settings and in enough rounds, so the"
          + " drift of the machine is in these figures: only changes beyond \(Figure.percent(Self.driftBound)) are judged. Run both with a peer"
          + " (--peers) to detect smaller ones.", "  ")
    }
    for failure in failures { out += ComparisonText.wrap(failure.description, "  - ") }
    for omission in omissions { out += ComparisonText.wrap(omission, "  - ") }
    return out + conclusion
  }

  /// The last line.
  private var conclusion: String {
    let count = changes.count(where: \.isRegression) + failures.count
    guard count == 0 else { return "\(count) regression\(count == 1 ? "" : "s").\n" }
    return isDecided
      ? "No regression beyond the bound.\n"
      : "Undecided: no regression was found, but a deciding quantity could not be compared.\n"
  }
}
