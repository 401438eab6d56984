// Frames of HTTP/2 that are not what they should be: from servers in place of a response, and from clients
// that attack. None of them may reach anybody as a message, or cost more than a bound.

import MillraceEngine

enum StreamGarbage {
  static let responses = 28

  /// Bytes in place of a response on `stream`.
  static func response(
    _ kind: Int, _ stream: Int, _ id: Int, _ dice: inout SimulatedDice
  ) -> [UInt8] {
    func head(_ fields: FieldBlock.Fields, ends: Bool = true) -> [UInt8] {
      Frame.head(stream, FieldBlock.write(fields, &dice), ends: ends, &dice)
    }
    let good: FieldBlock.Fields = [(":status", "200"), ("x-sim", "\(id)")]
    switch kind % responses {
    case 0: return head([("x-sim", "\(id)")])
    case 1: return head([(":status", "2000")])
    case 2: return head(good + [("Upper", "1")])
    case 3: return head(good + [("connection", "close")])
    case 4: return head(good + [("transfer-encoding", "chunked")])
    case 5: return head(good + [("content-length", "3"), ("content-length", "4")])
    case 6: return head(good + [("content-length", "3")])
    case 7: return head(good + [("x", "a\r\nb: c")])
    case 8: return head(good + [(":status", "200")])
    case 9: return head([(":status", "200"), (":path", "/")])
    case 10: return head([(":status", "103")], ends: true)
    case 11:
      return head(good + [("content-length", "9")], ends: false)
        + Frame.write(
          Frame.Kind.data, Frame.Flag.endStream, stream,
          Content.bytes(id, .response, from: 0, count: 3))
    case 12: return head(good, ends: false) + head([(":status", "200")])
    case 13: return head(good, ends: false) + head([("x", "y")], ends: false)
    case 14: return Frame.write(Frame.Kind.data, Frame.Flag.endStream, stream, [1, 2, 3])
    default: return frames(kind % responses - 15, stream, &dice)
    }
  }

  static let broken = 24

  /// Frames that either side may not send, most of which end the connection.
  static func frames(_ kind: Int, _ stream: Int, _ dice: inout SimulatedDice) -> [UInt8] {
    let data = Frame.Kind.data
    switch kind % broken {
    case 0: return Frame.write(data, 0, 0, [1])
    case 1: return Frame.write(data, 0, stream + 1, [1])
    case 2: return Frame.write(data, 0, stream + 1_000, [1])
    case 3: return Frame.write(Frame.Kind.settings, 0, 0, [1, 2, 3])
    case 4: return Frame.settings([(Frame.Setting.initialWindow, 0x8000_0000)])
    case 5: return Frame.windowUpdate(0, 0)
    case 6: return Frame.windowUpdate(0, 0x7FFF_FFFF) + Frame.windowUpdate(0, 0x7FFF_FFFF)
    case 7: return Frame.write(Frame.Kind.pushPromise, 4, stream, Frame.bytes(2, 4) + [0x82])
    case 8: return Frame.write(Frame.Kind.continuation, 4, stream, [0x82])
    case 9: return Frame.reset(stream + 1_000, 8)
    case 10: return Frame.bytes(70_000, 3) + [0, 0] + Frame.bytes(stream, 4) + dice.bytes(70_000)
    case 11: return Frame.write(Frame.Kind.headers, 5, stream, [0xFF, 0xFF, 0xFF, 0xFF, 0xFF])
    case 12: return dice.bytes(1 + dice.roll(5_000))
    case 13: return Frame.write(Frame.Kind.ping, 0, 0, [1, 2, 3])
    case 14: return Frame.write(Frame.Kind.goAway, 0, 0, [1])
    case 15: return Frame.write(Frame.Kind.reset, 0, stream, [1])
    case 16:
      return Frame.windowUpdate(stream, 0x7FFF_FFFF) + Frame.windowUpdate(stream, 0x7FFF_FFFF)
    case 17: return Frame.write(Frame.Kind.headers, 0xD, stream, [200, 0x82])
    case 18: return Frame.write(data, Frame.Flag.padded, stream, [200, 1])
    case 19: return Frame.write(Frame.Kind.settings, 1, 0, Frame.bytes(1, 6))
    case 20: return Frame.write(Frame.Kind.priorityUpdate, 0, 0, Frame.bytes(stream, 4) + [1])
    case 21: return Frame.write(Frame.Kind.headers, 5, stream + 1, [0x88])
    case 22: return Array("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".utf8)
    default: return Frame.write(Frame.Kind.headers, 0, stream, [0x82]) + Frame.windowUpdate(0, 1)
    }
  }

  static let floods = 9

  /// One frame of a flood; `stream` is the next one that may be opened.
  static func flood(_ kind: Int, _ stream: Int, _ head: [UInt8]) -> [UInt8] {
    switch kind % floods {
    case 0: return Frame.write(Frame.Kind.ping, 0, 0, Frame.bytes(stream, 8))
    case 1: return Frame.settings([(Frame.Setting.initialWindow, stream)])
    case 2: return Frame.windowUpdate(0, 1)
    case 3:
      return Frame.write(Frame.Kind.headers, 5, stream, head) + Frame.reset(stream, 8)
    case 4: return Frame.write(Frame.Kind.headers, 4, stream, head) + Frame.windowUpdate(stream, 0)
    case 5: return Frame.write(Frame.Kind.data, 0, 1)
    case 6: return Frame.write(Frame.Kind.priority, 0, stream, Frame.bytes(0, 4) + [1])
    case 7: return Frame.write(0xBB, 0, 0, [])
    default: return Frame.write(Frame.Kind.headers, 5, stream, head)
    }
  }
}
