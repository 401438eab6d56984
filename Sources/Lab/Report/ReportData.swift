// A comparison as the report reads it: rows by subject and stage, and which series a subject is.

struct ReportData {
  let comparison: Comparison
  private let paired: PairedRatios

  init(_ comparison: Comparison) {
    self.comparison = comparison
    self.paired = PairedRatios(comparison)
  }

  /// Subjects with measurements, and their series.
  var subjects: [(series: Int, subject: SubjectFacts)] {
    comparison.subjects.enumerated().filter { $0.element.failure == nil }
      .map { (series: $0.offset, subject: $0.element) }
  }

  var legend: [(series: Int, name: String)] { subjects.map { ($0.series, $0.subject.name) } }

  func row(_ subject: SubjectFacts, _ stage: StageFacts) -> Row {
    Row(subject, stage, paired.measurements(subject.name, stage.name))
  }

  var rates: [StageFacts] {
    comparison.stages.filter { $0.kind == .rate }.sorted { ($0.rate ?? 0) < ($1.rate ?? 0) }
  }

  var maximum: StageFacts? { comparison.stages.first { $0.kind == .maximum } }

  /// Where CPU and latency decide, then the maximum: the stages of the bars.
  var mainStages: [StageFacts] {
    guard let decisive = paired.decisiveStage else { return [] }
    return [decisive] + [maximum].compactMap { $0 }.filter { $0.name != decisive.name }
  }

  func isDecisive(_ ratio: Ratio) -> Bool { weight(ratio) == .decisive }
  func isInformative(_ ratio: Ratio) -> Bool { weight(ratio) == .informative }

  private func weight(_ ratio: Ratio) -> Quantity.Weight? {
    guard let quantity = Quantity(rawValue: ratio.quantity),
      let stage = comparison.stages.first(where: { $0.name == ratio.stage })
    else { return nil }
    return paired.weight(quantity, stage)
  }

  /// "equal load: 9,000 requests/s".
  static func title(_ stage: StageFacts) -> String {
    guard let rate = stage.rate else {
      return stage.name == "maximum" ? "maximum" : "\(stage.name) (maximum)"
    }
    return "\(stage.name): \(Figure.rate(rate)) requests/s"
  }
}
