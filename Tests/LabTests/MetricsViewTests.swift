// Millrace's metrics as a comparison reads them: the engine, what the kernel refused, and the difference
// between two looks.

import Testing

@testable import Lab
@testable import Metrics

@Suite struct MetricsViewTests {
  private func reading(
    _ values: [String: [UInt64?]], notes: [String: String] = [:]
  ) -> MetricReading {
    var reading = MetricReading(samples: [], notes: notes)
    for (name, each) in values {
      reading.samples.append(
        MetricSample(
          name: name, unit: "", help: "", kind: .counter, labels: [:], values: each))
    }
    return reading
  }

  @Test func theEngineAndItsRefusalsAreRead() {
    let view = MetricsView([
      reading([:], notes: ["engine": "io_uring", "refused.sqpoll": "EPERM (run as root)"])
    ])
    #expect(view.engine == "io_uring" && view.refused == ["sqpoll": "EPERM (run as root)"])
    #expect(view.counted == nil)
    #expect(MetricsView([]) == MetricsView([reading([:])]))
  }

  @Test func figuresAreTheDifferenceOfTwoLooksOfAllWorkers() {
    let looks = [
      reading(["published_responses": [100, 200], "turns": [10, 20], "responses": [1, 2]]),
      reading(["published_responses": [900, 1200], "turns": [70, 90], "responses": [9, 9]]),
    ]
    let counted = MetricsView(looks).counted
    #expect(counted?.responses == 1800)
    #expect(counted?.differences["turns"] == 130)
    #expect(counted?.differences["responses"] == 15)
    #expect(MetricsView([looks[1]]).counted == nil)
    // Nothing was answered in between.
    #expect(MetricsView([looks[0], looks[0]]).counted == nil)
  }

  @Test func aWorkerThatWasNotReadLeavesNoFigure() {
    let looks = [
      reading(["published_responses": [1, 1], "turns": [1, nil]]),
      reading(["published_responses": [5, 5], "turns": [9, 9], "completions": [7, 7]]),
    ]
    let counted = MetricsView(looks).counted
    #expect(counted?.responses == 8)
    #expect(counted?.differences["turns"] == nil && counted?.differences["completions"] == nil)
    let none = [
      reading(["published_responses": [1, nil]]), reading(["published_responses": [5, 5]]),
    ]
    #expect(MetricsView(none).counted == nil)
  }

  /// Figures by listener and by server are parts of the same traffic: they are not added to it.
  @Test func figuresWithLabelsAreLeftOut() {
    var looks = [reading(["published_responses": [1]]), reading(["published_responses": [5]])]
    for i in looks.indices {
      looks[i].samples.append(
        MetricSample(
          name: "turns", unit: "", help: "", kind: .counter, labels: ["server": "a"],
          values: [UInt64(i)]))
    }
    #expect(MetricsView(looks).counted?.differences == ["published_responses": 4])
  }
}
