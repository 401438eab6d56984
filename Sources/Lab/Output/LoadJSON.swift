// A load result as JSON, and back: what `--json` writes and `millrace compare` reads.

import FoundationEssentials

extension LoadResult {
  /// JSON with sorted keys, one line, ending in a newline.
  public func json() -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Cannot fail: plain values, and `nonConforming` figures are never stored.
    guard let data = try? encoder.encode(self) else {
      preconditionFailure("a result that is not JSON")
    }
    return [UInt8](data) + [UInt8(ascii: "\n")]
  }

  /// Reads what `json` wrote; nil if it is something else.
  public init?(json: [UInt8]) {
    guard let result = try? JSONDecoder().decode(LoadResult.self, from: Data(json)) else {
      return nil
    }
    self = result
  }
}
