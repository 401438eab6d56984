// From a histogram to the figures that are printed and compared. The histograms of a run are of one
// kind, so that those of its threads can be added.

import Histogram

/// The histogram of a run: nanoseconds at three digits, its range fixed at the start, so that
/// recording never allocates.
typealias LatencyHistogram = Histogram<UInt64>

extension LatencyHistogram {
  /// - Parameter highest: no value is above it; nanoseconds.
  init(upTo highest: Int64) {
    // 100 ns (64 after rounding to a power of two) is a tenth of what a clock read and a wake-up
    // are worth: finer places would only be memory.
    self.init(
      lowestDiscernibleValue: 100, highestTrackableValue: UInt64(Swift.max(highest, 1_000_000_000)),
      numberOfSignificantValueDigits: .three)
  }
}

extension LatencySummary {
  /// The figures of a histogram; zeros for an empty one.
  init(_ histogram: LatencyHistogram) {
    self.init()
    guard histogram.totalCount > 0 else { return }
    func at(_ percentile: Double) -> Int { Int(histogram.valueAtPercentile(percentile)) }
    count = Int(histogram.totalCount)
    minimum = Int(histogram.min)
    maximum = Int(histogram.max)
    mean = histogram.mean
    deviation = histogram.stdDeviation
    p50 = at(50)
    p75 = at(75)
    p90 = at(90)
    p95 = at(95)
    p99 = at(99)
    p999 = at(99.9)
    p9999 = at(99.99)
    self.histogram = histogram.recordedValues().map { [Int($0.value), Int($0.count)] }
  }
}
