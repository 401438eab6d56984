// Which requests have a row of their own in the result, with a histogram behind it. A log may hold a
// hundred thousand different requests, and a histogram of each, 170 KB on every thread, would be
// gigabytes: beyond a limit the busiest keep their rows, and all others are counted together in one, so
// that the rows still add up to the whole.

/// The rows of a plan's requests. A function of the plan alone: the threads agree on it without
/// talking.
struct RequestRows: Sendable {
  /// Rows at most, that of the others included: 17 MB of histograms on each thread, and as many lines as a
  /// person may still read.
  static let limit = 100

  /// The templates with rows of their own, in the rows' order.
  let own: [Int]
  /// How many templates share the row behind those; 0: there is no such row.
  let others: Int
  /// By template: its row. Empty for a single one, which has none beside the whole.
  let rows: [UInt32]

  var count: Int { rows.isEmpty ? 0 : own.count + (others > 0 ? 1 : 0) }

  init(_ plan: LoadPlan) {
    let templates = plan.requests.count
    if templates <= Self.limit {
      own = Array(0..<templates)
      others = 0
      rows = templates > 1 ? (0..<UInt32(templates)).map { $0 } : []
      return
    }
    let planned = Self.planned(plan)
    // Of equally busy ones the earlier.
    let order = planned.indices.sorted { (planned[$1], $0) < (planned[$0], $1) }
    own = Array(order.prefix(Self.limit - 1))
    others = templates - own.count
    var rows = [UInt32](repeating: UInt32(own.count), count: templates)
    for (row, template) in own.enumerated() { rows[template] = UInt32(row) }
    self.rows = rows
  }

  /// How often each template is sent, in proportion.
  private static func planned(_ plan: LoadPlan) -> [Double] {
    guard case .replay(let schedule) = plan.pacing else { return plan.requests.map(\.weight) }
    var counts = [Double](repeating: 0, count: plan.requests.count)
    for template in schedule.templates { counts[Int(template)] += 1 }
    return counts
  }
}
