// One request that a client wants answered, with the answers that the servers are to give and all
// that anybody saw of it. Clients and servers write here what they saw; the checks read it.

import MillraceEngine

enum BodyPlan: Equatable {
  case none
  case length(Int)
  case chunked(Int)

  var size: Int {
    switch self {
    case .none: 0
    case .length(let size), .chunked(let size): size
    }
  }
}

/// What a server does with a request.
struct Answer {
  enum Framing { case length, chunked, untilClose }
  enum Fault: Equatable {
    case none
    /// Reads, and never answers.
    case hangs
    case resetsBefore, closesBefore
    /// Ends in order, or by a reset, after so many bytes of the content.
    case stops(after: Int), resets(after: Int)
    /// Sends bytes that are no response.
    case garbage(Int)
    /// Sends bytes behind the response.
    case surplus
    case upgrades
    case interimFlood
    /// Sends a head without an end.
    case endlessHead
    case vanishes
  }

  var fault = Fault.none
  var status = 200
  var framing = Framing.length
  var size = 0
  var interims: [Int] = []
  var hasTrailers = false
  /// Answers before the request's content has come.
  var isEarly = false
  var closes = false
  var isOld = false
  var delay: Int64 = 0
  var pieceBytes = 1 << 20
  var pieceGap: Int64 = 0
  /// Over HTTP/2: what goes wrong ends its own stream alone.
  var sparesOthers = false

  /// It may end other streams of a connection of HTTP/2.
  var endsConnection: Bool {
    switch fault {
    case .none, .hangs, .resetsBefore, .upgrades, .interimFlood: false
    case .stops, .resets: !sparesOthers
    case .closesBefore, .garbage, .surplus, .endlessHead, .vanishes: true
    }
  }
}

/// What became of a request at its client.
enum Outcome: Equatable {
  case unsent
  case waiting
  /// A server's answer, whole.
  case served
  /// The proxy's own answer, whole.
  case refused(label: String)
  /// The connection ended before the answer was whole.
  case cut
}

final class RequestScript {
  let id: Int
  var method = "GET"
  var target = "/"
  var host = "sim.example"
  var isOld = false
  var body = BodyPlan.none
  var expects = false
  var closes = false
  /// The upstream that it is routed to; nil: the proxy answers itself.
  var group: Int?
  /// The label that the proxy is to answer with, where it is to answer itself.
  var expectedLabel: String?
  /// An attacker's: what it is like is not known, and no client waits for it.
  var isRaw = false
  /// One per attempt; the last one for all that follow.
  var answers: [Answer] = [Answer()]

  // What was seen.
  var outcome = Outcome.unsent
  var status = 0
  /// Virtual time at which the network had all of it.
  var sentAt: Int64?
  /// Heads of it that servers have read; whole ones.
  var arrivals = 0
  var wholeArrivals = 0
  /// True once its client has read an interim response that a server sent.
  var hasInterim = false
  /// True once the head of a final response was read.
  var sawHead = false
  var contentBytes = 0
  /// Reasons for which it need not be served. None: it has to be.
  var excuses: [String] = []
  /// Virtual time at which the outcome was final.
  var settledAt: Int64 = 0

  init(id: Int) { self.id = id }

  var isIdempotent: Bool { method != "POST" && method != "PATCH" }
  var isSettled: Bool { outcome != .unsent && outcome != .waiting }

  /// What the attempt that has come last is to be answered with.
  var answer: Answer { answers[max(0, min(arrivals, answers.count) - 1)] }

  func excuse(_ reason: String) {
    if !excuses.contains(reason) { excuses.append(reason) }
  }

  /// The head as it is sent.
  func head() -> [UInt8] {
    var text = "\(method) \(target) HTTP/1.\(isOld ? 0 : 1)\r\n"
    text += "Host: \(host)\r\nX-Sim: \(id)\r\n"
    switch body {
    case .none: break
    case .length(let size): text += "Content-Length: \(size)\r\n"
    case .chunked: text += "Transfer-Encoding: chunked\r\n"
    }
    // What the proxy is to take out: a spelling of its own field, and a proxy's word.
    if id % 5 == 2 { text += "X_Forwarded_For: 6\r\nX-Forwarded-User: 6\r\n" }
    if expects { text += "Expect: 100-continue\r\n" }
    if closes {
      text += "Connection: close, X-Hop\r\nX-Hop: 1\r\n"
    } else if isOld {
      text += "Connection: keep-alive\r\n"
    }
    var bytes = Array(text.utf8)
    // An identifier that takes six times its length in a record: it must not leave it out.
    if id % 5 == 0 {
      bytes += Array("X-Request-ID: ".utf8)
      bytes += [UInt8](repeating: id % 2 == 0 ? 0x80 : 0x22, count: 500)
      bytes += [13, 10]
    }
    return bytes + [13, 10]
  }

  /// The head as it is sent over HTTP/2.
  func streamHead(isTLS: Bool) -> FieldBlock.Fields {
    var fields: FieldBlock.Fields = [
      (":method", method), (":scheme", isTLS ? "https" : "http"), (":authority", host),
      (":path", target), ("x-sim", "\(id)"),
    ]
    if case .length(let size) = body { fields.append(("content-length", "\(size)")) }
    if id % 5 == 2 { fields += [("x_forwarded_for", "6"), ("x-forwarded-user", "6")] }
    if id % 4 == 1 { fields.append(("te", "trailers")) }
    if id % 7 == 1 { fields += [("cookie", "a=1"), ("cookie", "b=2")] }
    if id % 6 == 1 { fields.append(("priority", "u=\(id % 8), i")) }
    if expects { fields.append(("expect", "100-continue")) }
    if id % 5 == 0 {
      let value = String(repeating: id % 2 == 0 ? "\u{80}" : "\"", count: 500)
      fields.append(("x-request-id", value))
    }
    return fields
  }

  /// The content as it is sent, framed; chunks of sizes by the dice.
  func content(_ dice: inout SimulatedDice) -> [UInt8] {
    switch body {
    case .none: return []
    case .length(let size):
      return Content.bytes(id, .request, from: 0, count: size)
    case .chunked(let size):
      // Connection names X-Hop where `closes`.
      return Self.chunks(
        id, .request, size, &dice,
        trailers: (closes ? ["X-Hop: 1"] : []) + (id % 3 == 0 ? ["X-Trail: \(id)"] : []))
    }
  }

  static func chunks(
    _ id: Int, _ direction: Direction, _ size: Int, _ dice: inout SimulatedDice,
    trailers: [String]
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    var at = 0
    while at < size {
      let count = min(size - at, 1 + dice.roll(dice.chance(300) ? 64 : 20_000))
      bytes += Array(
        (String(count, radix: 16) + (dice.chance(100) ? ";x=\"1\"" : "")
          // Padded, which only a response may be.
          + (direction == .response && dice.chance(100) ? "  " : "") + "\r\n").utf8)
      bytes += Content.bytes(id, direction, from: at, count: count)
      bytes += [13, 10]
      at += count
    }
    bytes += Array("0\r\n\(trailers.map { $0 + "\r\n" }.joined())\r\n".utf8)
    return bytes
  }
}
