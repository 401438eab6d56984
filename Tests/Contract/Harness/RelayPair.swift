// Two connections with a relay from the one to the other.

import MillraceEngine
import Testing

/// Two connections of the engine: what `writer` sends comes in at `source`, and what leaves at
/// `sink` comes to `reader`.
final class RelayPair {
  let harness: Harness
  let source: Descriptor
  let writer: any Peer
  let sink: Descriptor
  let reader: any Peer
  private(set) var got: [UInt8] = []

  init(_ harness: Harness) throws {
    self.harness = harness
    (source, writer) = try harness.connection()
    (sink, reader) = try harness.connection()
  }

  func read() { got += reader.receive() ?? [] }

  /// Sends at the one end and reads at the other until the condition holds and all is sent.
  func feed(_ bytes: [UInt8], until condition: () -> Bool) throws {
    var sent = 0
    try harness.turn(until: {
      if sent < bytes.count { sent += max(0, writer.send(Array(bytes[sent...]))) }
      read()
      return sent == bytes.count && condition()
    })
  }

  func close() {
    harness.engine.close(source)
    harness.engine.close(sink)
    writer.close()
    reader.close()
  }
}
