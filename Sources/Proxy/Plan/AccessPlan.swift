// The access log as workers read it: plain memory of a plan.

import Configuration
import Variables

extension PlanMemory: LineMemory {}

struct AccessPlan {
  let shape: LineShape
  /// Exchanges whose mark is below it have a line; 2^32: all.
  let threshold: UInt64
  /// So have those that fail.
  let keepsErrors: Bool
  let redactsQuery: Bool

  init(_ access: AccessLogConfiguration, _ memory: inout PlanMemory) {
    shape = LineShape(access.format, &memory)
    threshold = UInt64(access.samplePerMillion) << 32 / 1_000_000
    keepsErrors = access.keepsErrors
    redactsQuery = access.redactQuery
  }

  /// Whether an exchange has a line: by its number, which is spread so that neither a worker nor a
  /// connection is preferred. The same number always has the same answer.
  func samples(_ exchangeID: UInt64, isError: Bool) -> Bool {
    if threshold >> 32 != 0 || isError && keepsErrors { return true }
    return Self.spread(exchangeID) >> 32 < threshold
  }

  /// The finaliser of SplitMix64: each bit of the number changes half of the result's.
  static func spread(_ number: UInt64) -> UInt64 {
    var z = number &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
