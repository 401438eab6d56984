// What Millrace says of itself in its metrics: the engine that it took, what the kernel refused it, and
// what it counted between the first and the last look of a measurement.

import Metrics

struct MetricsView: Equatable {
  /// io_uring or epoll.
  var engine: String?
  /// Features that the kernel refused, and why.
  var refused: [String: String] = [:]
  /// Between the looks, summed over the workers; nil without two looks, or if no response was counted
  /// between them.
  var counted: Counted?

  struct Counted: Equatable {
    var responses: Int
    var differences: [String: Int]
  }

  /// A worker publishes its engine's figures from time to time, its responses with them: they are set
  /// against these, not against the responses of the moment of the look.
  private static let responses = "published_responses"

  init(_ looks: [MetricReading]) {
    guard let last = looks.last, let first = looks.first else { return }
    engine = last.notes["engine"]
    for (name, text) in last.notes where name.hasPrefix("refused.") {
      refused[String(name.dropFirst("refused.".count))] = text
    }
    guard looks.count > 1 else { return }
    var differences: [String: Int] = [:]
    for sample in last.samples where sample.labels.isEmpty {
      // One writer that could not be read makes the sum that of others.
      guard
        let before = first.samples.first(where: { $0.name == sample.name && $0.labels.isEmpty }),
        !before.values.contains(nil), !sample.values.contains(nil)
      else { continue }
      differences[sample.name] = Int(truncatingIfNeeded: sample.sum &- before.sum)
    }
    guard let responses = differences[Self.responses], responses > 0 else { return }
    counted = Counted(responses: responses, differences: differences)
  }
}
