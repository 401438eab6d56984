// Holding a response while it is small and young. Many servers write a head and its content apart
// (Python's http.server, node, Java's servers), so that the head arrives first by some hundred
// microseconds; without a hold such a response costs two records and two commits, `begin` and `end`,
// where one `exchange` would say it all. What is meant to stream is never held.

import Exchange
import HTTP
import HTTP1

enum ResponseHold {
  /// Bytes that one worker holds at most; beyond that a response begins at once, and is counted. The
  /// same as the records that wait for the disk may take.
  static let workerBytes = 16 << 20

  /// Whether a response may be held for its content, by its head.
  static func mayHold(_ response: ResponseView, _ framing: BodyFraming) -> Bool {
    if case .length(let size) = framing, size > UInt64(ExchangeState.Limits.standard.heldContent) {
      return false
    }
    return !response.isStream
  }
}
