// RunIdentity names one run of the proxy. The sixteen bytes are random and come from the caller,
// since nothing here draws randomness; exchange identifiers are unique within a run.

internal import Text

/// Sixteen random bytes that name one run of the proxy.
public struct RunIdentity: Equatable, Sendable {
  public let high: UInt64
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  init?(hex: UnsafeRawBufferPointer) {
    guard hex.count == 32 else { return nil }
    var words: [UInt64] = [0, 0]
    for (index, digit) in hex.enumerated() {
      guard let value = SealHash.value(digit) else { return nil }
      words[index / 16] = words[index / 16] << 4 | UInt64(value)
    }
    self.init(high: words[0], low: words[1])
  }

  /// As it stands in the log: 32 digits.
  package var hexadecimal: String {
    [high, low].map { word in
      let digits = String(word, radix: 16)
      return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }.joined()
  }

  func write(into cursor: inout ByteCursor) {
    cursor.hex(high)
    cursor.hex(low)
  }
}
