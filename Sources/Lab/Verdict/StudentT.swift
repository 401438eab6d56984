// Quantiles of Student's t distribution for whole degrees of freedom. They only widen an interval
// that the bootstrap made, when several quantities are judged together (see Family).

import Glibc

enum StudentT {
  /// The probability that |t| stays below `t`, for `degrees` degrees of freedom: the finite series
  /// of Abramowitz and Stegun, 26.7.3 and 26.7.4.
  static func inside(_ t: Double, degrees: Int) -> Double {
    precondition(degrees >= 1 && t >= 0)
    let theta = atan(t / Double(degrees).squareRoot())
    let (sine, cosine) = (sin(theta), cos(theta))
    if degrees % 2 == 0 {
      var term = 1.0
      var sum = 1.0
      for k in stride(from: 2, through: degrees - 2, by: 2) {
        term *= cosine * cosine * Double(k - 1) / Double(k)
        sum += term
      }
      return sine * sum
    }
    guard degrees > 1 else { return 2 * theta / Double.pi }
    var term = cosine
    var sum = cosine
    for k in stride(from: 3, through: degrees - 2, by: 2) {
      term *= cosine * cosine * Double(k - 1) / Double(k)
      sum += term
    }
    return 2 / Double.pi * (theta + sine * sum)
  }

  /// The t that |t| stays below with this probability.
  static func twoSided(_ probability: Double, degrees: Int) -> Double {
    precondition(probability > 0 && probability < 1)
    var low = 0.0
    var high = 1.0
    while inside(high, degrees: degrees) < probability { high *= 2 }
    for _ in 0..<80 {
      let middle = (low + high) / 2
      if inside(middle, degrees: degrees) < probability { low = middle } else { high = middle }
    }
    return (low + high) / 2
  }
}
