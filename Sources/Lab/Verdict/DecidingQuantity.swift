// What the verdict goes by, where somebody chose it (`--decide-by`): a quantity at a stage. Fewer quantities share
// one error, and a comparison ends when none of them is open.

/// A quantity at the maximum or at the lowest equal load, written `cpu_per_request@maximum`.
public struct DecidingQuantity: Sendable, Equatable {
  let quantity: Quantity
  let kind: StageFacts.Kind

  /// - Parameter text: a quantity's name, and where it is measured at both the stage: `@maximum` or `@equal`. A name
  ///   by itself means the stage at which it decides by default.
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

  /// What can be chosen.
  public static var all: [DecidingQuantity] {
    Quantity.allCases.flatMap { quantity in
      [StageFacts.Kind.maximum, .rate].filter { isJudged(quantity, $0) }
        .map { DecidingQuantity(quantity, $0) }
    }
  }

  /// As it is written.
  public var text: String { "\(quantity.rawValue)@\(kind == .maximum ? "maximum" : "equal")" }

  /// In a sentence.
  var words: String {
    "\(quantity.label) at the \(kind == .maximum ? "maximum" : "lowest equal load")"
  }
}
