// Deciding quantities of a comparison's own choice (`--decide-by`), each at a stage. The fewer they are, the fewer
// share one error, and slices end when none of them is undecided.

/// A quantity at the maximum or at the lowest equal load, written `cpu_per_request@maximum`.
public struct DecidingQuantity: Sendable, Equatable {
  let quantity: Quantity
  let kind: StageFacts.Kind

  /// - Parameter text: a quantity's name, followed by `@maximum` or `@equal`. Without a stage: the lowest equal load,
  ///   or the maximum for a quantity that is judged only there.
  /// - Returns: nil if there is no such quantity, or if it is only shown and not judged there.
  public init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    guard let quantity = Quantity(rawValue: String(parts[0])), parts.count <= 2 else { return nil }
    let kinds: [StageFacts.Kind]
    switch parts.count > 1 ? parts[1] : "" {
    case "": kinds = parts.count > 1 ? [] : [.rate, .maximum]
    case "equal": kinds = [.rate]
    case "maximum": kinds = [.maximum]
    default: kinds = []
    }
    guard let kind = kinds.first(where: { Self.isJudged(quantity, $0) }) else { return nil }
    self.quantity = quantity
    self.kind = kind
  }

  private init(_ quantity: Quantity, _ kind: StageFacts.Kind) {
    self.quantity = quantity
    self.kind = kind
  }

  private static func isJudged(_ quantity: Quantity, _ kind: StageFacts.Kind) -> Bool {
    switch quantity.weight(kind, isFirstRate: kind == .rate) {
    case .decisive, .secondary: true
    case .informative, nil: false
    }
  }

  /// What decides unless something else is chosen.
  static let usual = [
    DecidingQuantity(.throughput, .maximum), DecidingQuantity(.p99, .rate),
    DecidingQuantity(.cpuPerRequest, .rate), DecidingQuantity(.machinePerRequest, .rate),
  ]

  /// What can be chosen.
  public static var all: [DecidingQuantity] {
    Quantity.allCases.flatMap { quantity in
      [StageFacts.Kind.maximum, .rate].filter { isJudged(quantity, $0) }
        .map { DecidingQuantity(quantity, $0) }
    }
  }

  /// As it is written.
  public var text: String { "\(quantity.rawValue)@\(kind == .maximum ? "maximum" : "equal")" }

  /// Whether it is the same quantity, at whatever stage: a sentence could not tell the two apart.
  public func isSameQuantity(as other: DecidingQuantity) -> Bool { quantity == other.quantity }

  /// As a sentence says it.
  var words: String {
    "\(quantity.label) at the \(kind == .maximum ? "maximum" : "lowest equal load")"
  }
}
