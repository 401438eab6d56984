// A connection of a server that speaks HTTP/2: its streams are answered each in its own time, well or badly,
// while the connection itself may be narrow, refuse streams, go away or die.

import MillraceEngine

/// How a server of HTTP/2 treats its connections.
struct StreamOriginBehavior {
  var windows = WindowPolicy()
  /// Streams that it allows at once; nil: it does not say.
  var maxStreams: Int?
  /// Of a thousand requests, how many are refused unprocessed.
  var refusals = 0
  /// Says GOAWAY behind so many requests; nil: never.
  var requestsPerConnection: Int?
  /// The GOAWAY leaves out streams that have been opened.
  var goesBack = false
  /// The connection is reset behind so many bytes that it has written; nil: never.
  var cutAt: Int?
  /// Times at which it sends a frame that answers nothing.
  var whims: [Int64] = []

  /// No innocent request can fail by it.
  var isSteady: Bool { refusals == 0 && requestsPerConnection == nil && cutAt == nil }
}

final class StreamOriginConnection {
  private unowned let origin: Origin
  private let behavior: StreamOriginBehavior
  private let line: Line
  private let wire: StreamLine
  private var served = 0
  /// The last stream that is processed, once GOAWAY has been said.
  private var last: Int?
  private var turn = 0
  /// Streams whose answers have begun.
  private var answered: Set<Int> = []
  private var proxyRun: ProxyRun { origin.proxyRun }

  init(_ origin: Origin, _ behavior: StreamOriginBehavior, _ peer: SimulatedPeer) {
    self.origin = origin
    self.behavior = behavior
    line = Line(origin.proxyRun.world, accepted: peer, origin.behavior.pace, origin.context)
    line.cutAt = behavior.cutAt
    wire = StreamLine(
      origin.proxyRun.world, line, isClient: false, behavior.windows, dice: origin.dice.split())
    wire.onHead = { [unowned self] in takeHead($0, $1, ends: $2) }
    wire.onContent = { [unowned self] in takeContent($0, $1) }
    wire.onEnd = { [unowned self] in requestEnded($0, $1) }
    wire.onReset = { [unowned self] _, _ in settle() }
    wire.onBroken = { [unowned self] in proxyRun.fail("http2", "a server reads \($0)") }
    wire.onGoAway = { [unowned self] _, code in
      // What made it say so is a fault of some server of the group, which is written down with it.
      proxyRun.note("a server of \(self.origin.group) is told GOAWAY \(code)")
    }
    wire.begin(behavior.maxStreams.map { [(Frame.Setting.maxStreams, $0)] } ?? [])
    for time in behavior.whims { proxyRun.after(time) { [unowned self] in whim() } }
    settle()
  }

  func drop() { line.reset() }

  private func whim() {
    guard !line.isOver else { return }
    switch wire.dice.roll(4) {
    case 0: line.write(Frame.write(Frame.Kind.ping, 0, 0, wire.dice.bytes(8)))
    case 1:
      wire.announce([
        (Frame.Setting.initialWindow, [0, 1, 1_000, 65_535, 300_000][wire.dice.roll(5)])
      ])
    case 2 where behavior.maxStreams != nil:
      wire.announce([(Frame.Setting.maxStreams, 1 + wire.dice.roll(100))])
    default: line.write(Frame.write(0xBB, 0, wire.dice.roll(9), wire.dice.bytes(20)))
    }
  }

  // MARK: In

  private func takeHead(_ stream: WireStream, _ fields: FieldBlock.Fields, ends: Bool) {
    turn += 1
    // Nobody processes what comes behind the last stream.
    if let last, stream.id > last { return }
    if wire.dice.chance(behavior.refusals) {
      proxyRun.totals.disowned += 1
      return wire.reset(stream, 7)
    }
    var pseudo: [String: String] = [:]
    var rest: FieldBlock.Fields = []
    for (name, value) in fields {
      if name.hasPrefix(":") {
        if !rest.isEmpty || pseudo[name] != nil {
          proxyRun.fail("request", "\(name) is out of place: \(fields)")
        }
        pseudo[name] = value
      } else {
        rest.append((name, value))
      }
    }
    let scheme = origin.context == nil ? "http" : "https"
    if pseudo.count != 4 || !["http", "https"].contains(pseudo[":scheme"]) {
      proxyRun.fail("request", "pseudo-fields \(pseudo), over \(scheme)")
    }
    if let host = pseudo[":authority"], !rest.contains(where: { $0.name == "host" }) {
      rest.append(("host", host))
    }
    let head = MessageHead(
      start: [pseudo[":method"] ?? "", pseudo[":path"] ?? "", "HTTP/2"], fields: rest)
    guard let script = origin.arrived(head, on: line) else { return line.reset() }
    proxyRun.totals.streamArrivals += 1
    stream.script = script
    served += 1
    if ends { origin.ended(script, 0, []) }
    if ends || script.answer.isEarly {
      begin(stream, script)
    } else if head.first("expect") != nil {
      wire.sendHead(stream, [(":status", "100")], ends: false)
    }
    if let limit = behavior.requestsPerConnection, served >= limit, last == nil { goAway() }
  }

  private func takeContent(_ stream: WireStream, _ bytes: ArraySlice<UInt8>) {
    guard let script = stream.script, !script.isRaw else { return }
    let at = stream.received - bytes.count
    if let place = Content.difference(bytes, script.id, .request, at: at) {
      proxyRun.fail("mix-up", "byte \(place) of the content of \(script.id) is not its own")
    }
    proxyRun.totals.bytes += bytes.count
  }

  private func requestEnded(_ stream: WireStream, _ trailers: FieldBlock.Fields) {
    guard let script = stream.script else { return }
    origin.ended(script, stream.received, trailers)
    if !answered.contains(stream.id) { begin(stream, script) }
    settle()
  }

  // MARK: The connection's end

  /// No more streams: of those that have come, the last ones perhaps have not been looked at either.
  private func goAway() {
    proxyRun.totals.goAways += 1
    var through = wire.lastOfPeer
    if behavior.goesBack {
      for stream in wire.streams.reversed() where stream.id == through {
        guard let script = stream.script, !stream.isReset, !answered.contains(stream.id) else {
          break
        }
        origin.disown(script)
        stream.script = nil
        through -= 2
      }
    }
    last = max(0, through)
    line.write(Frame.goAway(max(0, through), 0))
    for stream in wire.streams where stream.id > through { stream.isReset = true }
    settle()
  }

  /// Closes what is done with.
  private func settle() {
    turn += 1
    guard !line.isOver, wire.openStreams == 0 else { return }
    if last != nil { return line.finish() }
    guard let time = origin.behavior.idleClose else { return }
    let mine = turn
    proxyRun.after(time) { [weak self] in
      guard let self, turn == mine, !line.isOver, wire.openStreams == 0 else { return }
      line.close()
    }
  }

  // MARK: Out

  private func begin(_ stream: WireStream, _ script: RequestScript) {
    answered.insert(stream.id)
    let answer = script.answer
    proxyRun.note(
      "a server of \(origin.group) answers \(script.id) on \(stream.id): \(answer.fault) "
        + "\(answer.status)")
    proxyRun.after(answer.delay) { [weak self] in
      guard let self, !line.isOver, !stream.isReset, stream.script === script else { return }
      send(stream, script, answer)
    }
  }

  private func send(_ stream: WireStream, _ script: RequestScript, _ answer: Answer) {
    switch answer.fault {
    case .hangs: return
    case .resetsBefore: return wire.reset(stream, [1, 2, 8, 13][wire.dice.roll(4)])
    case .closesBefore: return line.finish()
    case .vanishes: return line.vanish()
    case .upgrades: return wire.sendHead(stream, [(":status", "101")], ends: false)
    case .garbage(let kind):
      return line.write(StreamGarbage.response(kind, stream.id, script.id, &wire.dice))
    case .endlessHead:
      line.write(
        Frame.write(
          Frame.Kind.headers, 0, stream.id, FieldBlock.write([(":status", "200")], &wire.dice)))
      return endlessHead(stream, 200)
    case .interimFlood:
      for _ in 0..<80 {
        wire.sendHead(stream, [(":status", "103"), ("link", "</a>")], ends: false)
      }
      return
    case .stops, .resets:
      // A head without content is whole for a client of HTTP/1.1 before it is for the server's stream.
      guard isBare(script, answer) else { break }
      return answer.sparesOthers ? wire.reset(stream, 2) : line.reset()
    case .none, .surplus: break
    }
    for status in answer.interims {
      wire.sendHead(stream, [(":status", "\(status)"), ("x-interim", "1")], ends: false)
    }
    answerWhole(stream, script, answer)
  }

  private func endlessHead(_ stream: WireStream, _ left: Int) {
    guard left > 0, !line.isOver else { return }
    line.write(
      Frame.write(
        Frame.Kind.continuation, 0, stream.id,
        FieldBlock.write([("x-endless", String(repeating: "0", count: 50))], &wire.dice)))
    proxyRun.after(1_000) { [weak self] in self?.endlessHead(stream, left - 1) }
  }

  private func isBare(_ script: RequestScript, _ answer: Answer) -> Bool {
    script.method == "HEAD" || answer.status == 204 || answer.status == 304
  }

  /// The head, and what follows it.
  private func answerWhole(_ stream: WireStream, _ script: RequestScript, _ answer: Answer) {
    var fields: FieldBlock.Fields = [
      (":status", "\(answer.status)"), ("x-sim", "\(script.id)"), ("x-size", "\(answer.size)"),
      ("server", "sim"),
    ]
    if answer.status != 204 && answer.framing == .length {
      fields.append(("content-length", "\(answer.size)"))
    }
    let isBare = isBare(script, answer)
    stream.direction = .response
    stream.total = isBare ? 0 : answer.size
    if answer.hasTrailers && answer.framing == .chunked && !isBare {
      stream.trailers = [("x-trail", "\(script.id)")]
    }
    stream.pieceBytes = max(1, answer.pieceBytes)
    stream.pieceGap = answer.pieceGap
    var breaks = false
    switch answer.fault {
    case .stops(let place), .resets(let place):
      breaks = true
      stream.total = place % (stream.total + 1)
      stream.ends = false
      stream.trailers = []
    case .surplus where answer.framing == .length && !isBare: stream.total += 7
    default: break
    }
    let ends = !breaks && stream.total == 0 && stream.trailers.isEmpty
    wire.sendHead(stream, fields, ends: ends)
    if !ends { wire.sendContent(stream) }
    watch(stream, script, answer, breaks: breaks)
  }

  /// Waits until an answer has left, and does what is to come then.
  private func watch(
    _ stream: WireStream, _ script: RequestScript, _ answer: Answer, breaks: Bool
  ) {
    guard !line.isOver, !stream.isReset else { return }
    if breaks, stream.sent == stream.total {
      if answer.sparesOthers {
        wire.reset(stream, [0, 2, 8][wire.dice.roll(3)])
        return settle()
      }
      if case .stops = answer.fault { return line.finish() }
      return line.reset()
    }
    if stream.localEnded {
      // RFC 9113 8.1: no more of the request is wanted.
      if !stream.remoteEnded && wire.dice.chance(500) { wire.reset(stream, 0) }
      return settle()
    }
    proxyRun.after(5_000_000) { [weak self] in
      self?.watch(stream, script, answer, breaks: breaks)
    }
  }
}
