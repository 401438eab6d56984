import MillraceEngine
import Testing

/// `#expect` for conditions that speak of values which cannot be copied: the macro would copy them.
func check(_ condition: Bool, at location: SourceLocation = #_sourceLocation) {
  #expect(condition, sourceLocation: location)
}

/// A small generator of numbers, the same in each run.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

struct Missing: Error {}

extension Optional where Wrapped: ~Copyable {
  /// `#require` for values that cannot be copied.
  consuming func unwrapped() throws -> Wrapped {
    switch consume self {
    case .some(let value): return value
    case .none: throw Missing()
    }
  }
}
