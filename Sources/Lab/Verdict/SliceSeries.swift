// The size of a difference from a series of paired slices, and how sure it is: a trimmed mean, so that a
// slice in which the machine did something else has no more weight than any other; the variance of the
// means of consecutive slices with what they remember of each other, so that what drifts from slice to
// slice is not taken for so many independent looks; Student's t. Pure functions of numbers (`SliceSeriesTests` simulates them).
//
// Trimmed means and their winsorised variance: Yuen, "The two-sample trimmed t for unequal population
// variances", Biometrika 61 (1974). Batch means: Alexopoulos and Seila, "Output data analysis", in Banks
// (ed.), Handbook of Simulation (1998).

import Glibc

/// An estimate with its standard error.
struct SeriesEstimate: Equatable {
  var mean: Double
  var error: Double
  /// Degrees of freedom of the error.
  var degrees: Int

  /// Half of the width of an interval that misses the truth with probability `miss`.
  func half(missing miss: Double) -> Double {
    error > 0 ? error * StudentT.twoSided(1 - miss, degrees: degrees) : 0
  }

  /// How probable it is that the truth lies on the same side of `value` as the mean, if nothing was
  /// known beforehand.
  func probability(beyond value: Double = 0) -> Double {
    guard error > 0 else { return mean == value ? 0.5 : 1 }
    return (1 + StudentT.inside(abs(mean - value) / error, degrees: degrees)) / 2
  }
}

enum SliceSeries {
  /// The share that is cut off at each end of CPU time and throughput.
  static let costTrim = 0.1
  /// The share that is cut off at each end of percentiles, which a single stall moves: a fifth, and where there are
  /// many two fifths. Beside a neighbour that works in bursts a slice meets one or not, and a third of the ratios
  /// say no more than which of the two did: without them the error was 0.6 to 0.8 of that with a fifth, and
  /// where noise is normal 1.1 (docs/lab.md). What is in few slices only is seen by PooledPercentile.
  static func latencyTrim(of count: Int) -> Double { count < 100 ? 0.2 : 0.4 }
  /// The fewest values that an interval is made of, as of rounds.
  static let fewest = 5
  /// Means that the variance is taken of. More are not worth their correlation.
  private static let groups = 32

  /// - Parameters:
  ///   - values: logarithms of paired ratios, in the order of time.
  ///   - trim: share that is cut off at each end.
  /// - Returns: nil where there are too few.
  static func estimate(_ values: [Double], trim: Double) -> SeriesEstimate? {
    let count = values.count
    guard count >= fewest else { return nil }
    let cut = Int(trim * Double(count))
    let sorted = values.sorted()
    let kept = sorted[cut..<count - cut]
    let mean = kept.reduce(0, +) / Double(kept.count)
    let (low, high) = (sorted[cut], sorted[count - 1 - cut])
    let pulled = values.map { min(high, max(low, $0)) }
    let means = groupMeans(pulled)
    let whole = means.reduce(0, +) / Double(means.count)
    let squares = means.reduce(0) { $0 + ($1 - whole) * ($1 - whole) }
    let variance =
      squares / Double(means.count - 1) / Double(means.count) * memory(means, whole, squares)
    let (all, left) = (Double(count), Double(kept.count))
    // Yuen's divisor h(h − 1), and not h².
    let small = (all - 1) / all * left / max(1, left - 1)
    return SeriesEstimate(
      mean: mean, error: (variance * small).squareRoot() / (left / all),
      degrees: min(means.count, kept.count) - 1)
  }

  /// How much more the mean varies than that of independent groups would: the factor of a first-order
  /// autoregression with the correlation of neighbouring groups (Newey and West, "Automatic lag selection
  /// in covariance matrix estimation", Review of Economic Studies 61 (1994), take it for prewhitening).
  /// Never less than 1; the estimate of the correlation is too low by about 1/n.
  private static func memory(_ means: [Double], _ whole: Double, _ squares: Double) -> Double {
    guard squares > 0 else { return 1 }
    let products = zip(means, means.dropFirst()).reduce(0) {
      $0 + ($1.0 - whole) * ($1.1 - whole)
    }
    let correlation = min(0.7, max(0, products / squares + 1 / Double(means.count)))
    return (1 + correlation) / (1 - correlation)
  }

  /// Two blocks have opposite orders, so that what drifts steadily falls out of their mean: from 20
  /// values on no group is smaller. What does not fill a group at the end is left out of the variance.
  private static func groupMeans(_ values: [Double]) -> [Double] {
    var size = values.count < 20 ? 1 : 2
    if values.count > groups * 2 {
      size = (values.count + groups - 1) / groups
      size += size % 2
    }
    return stride(from: 0, through: values.count - size, by: size).map { start in
      values[start..<start + size].reduce(0, +) / Double(size)
    }
  }
}

/// A comparison looks at its figures several times and may stop at each: every look spends a share of the
/// error that is allowed in all, later ones more, because most is known then (Lan and DeMets, "Discrete
/// sequential boundaries for clinical trials", Biometrika 70 (1983), with the spending function t²). The
/// shares are added up as they are, which holds whatever the dependence between looks is, and makes the
/// last interval wider by some 8%. An interval of a look covers at its rate at whichever look the
/// run stopped (repeated confidence intervals, Jennison and Turnbull, JRSS B 51 (1989)).
enum Looks {
  static let count = 4

  /// The share of the error that look `number` (1 to `count`) may spend. 0 is a run without looks.
  static func share(_ number: Int) -> Double {
    guard number > 0 else { return 1 }
    let (now, before) = (Double(min(number, count)), Double(min(number, count) - 1))
    return (now * now - before * before) / Double(count * count)
  }

  /// The look that a moment of the course belongs to, `passed` from 0 to 1.
  static func number(_ passed: Double) -> Int {
    min(count, max(1, Int((passed * Double(count)).rounded(.down)) + 1))
  }
}
