// Holding a response while it is small and young. Many servers write a head and its content apart
// (Python's http.server, node, Java's servers), so that the head arrives first by some hundred
// microseconds; without a hold such a response costs two records and two commits, `begin` and `end`,
// where one `exchange` would say it all. What is meant to stream is never held.

import HTTP
import HTTP1

enum ResponseHold {
  /// Bytes of content above which a response is no longer small. Half of the low watermark: with any
  /// head, what is held does not pause the server.
  static let contentBytes = 65_536
  /// Bytes that one worker holds at most; beyond that a response begins at once, and is counted. The
  /// same as the records that wait for the disk may take.
  static let workerBytes = 16 << 20

  /// Whether a response may be held for its content, by its head.
  static func mayHold(_ response: ResponseView, _ framing: BodyFraming) -> Bool {
    if case .length(let size) = framing, size > UInt64(contentBytes) { return false }
    return !response.isStream
  }
}
