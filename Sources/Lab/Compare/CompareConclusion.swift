// Where the runner hands over: ratios and verdict from the measurements.

enum CompareConclusion {
  static func conclude(_ comparison: inout Comparison) {
    comparison.conclude()
  }
}
