// How a connection of HTTP/2 is read. A message of HTTP/1.1 says beforehand how long it is; here any stream may
// bring content at any time, and what the last receives brought is all that is known.

import MillraceEngine

/// Chooses between small buffers by a receive that stays armed, and a large one at a time.
struct ReceiveSize {
  /// Bytes, as in `EngineOptions`.
  static let smallBuffer = 4096
  /// Receives in a row that change the mode: a single full buffer may be a whole burst, a single short receive the
  /// end of one.
  static let switchThreshold: UInt8 = 2

  /// Receives in a row that the other mode would have suited.
  private var count: UInt8 = 0
  /// The peer does not read what it is sent: it is read in pieces, each asked for.
  var isPaced = false

  /// Takes note of what a receive brought. - Returns: the mode of the next one.
  mutating func mode(after bytes: Int, in mode: ReceiveMode) -> ReceiveMode {
    if isPaced { return .once }
    guard (bytes >= Self.smallBuffer) != (mode == .once) else {
      count = 0
      return mode
    }
    count += 1
    guard count >= Self.switchThreshold else { return mode }
    count = 0
    return mode == .once ? .stream : .once
  }
}
