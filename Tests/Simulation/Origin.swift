// A server behind the proxy, from outside: it reads every request with a strict eye and answers it
// as its request script says, well or badly. What the proxy must never let through is seen here: requests
// that no client sent, framing that can be read in two ways, a request repeated that must not be.

import MillraceEngine
import TLS

/// How a server treats its connections.
struct OriginBehavior {
  /// Requests after which it closes, without having said so; nil: never.
  var requestsPerConnection: Int?
  /// Closes a connection that was idle for so long; nil: never.
  var idleClose: Int64?
  var pace = Pace.prompt

  var isSteady: Bool { requestsPerConnection == nil && idleClose == nil }
}

final class Origin {
  unowned let proxyRun: ProxyRun
  let group: Int
  let address: SocketAddress
  let behavior: OriginBehavior
  /// It speaks TLS.
  let context: TLSContext?
  var dice: SimulatedDice
  /// True once it has done something after which an innocent request may fail on a kept connection.
  var isSuspect = false
  /// Its connections speak HTTP/2, like this; nil: HTTP/1.1.
  let streams: StreamOriginBehavior?
  private var connections: [OriginConnection] = []
  private var streamConnections: [StreamOriginConnection] = []

  init(
    _ proxyRun: ProxyRun, group: Int, address: SocketAddress, _ behavior: OriginBehavior,
    _ context: TLSContext?, _ streams: StreamOriginBehavior?, dice: SimulatedDice
  ) {
    self.proxyRun = proxyRun
    self.streams = streams
    self.group = group
    self.address = address
    self.behavior = behavior
    self.context = context
    self.dice = dice
    isSuspect = !behavior.isSteady
  }

  func open() {
    proxyRun.world.listen(address) { [unowned self] peer in
      proxyRun.totals.originConnections += 1
      if let streams {
        proxyRun.totals.originStreamConnections += 1
        streamConnections.append(StreamOriginConnection(self, streams, peer))
      } else {
        connections.append(OriginConnection(self, peer))
      }
    }
  }

  func shut() { proxyRun.world.stopListening(address) }

  func resetAll() {
    for connection in connections { connection.drop() }
    for connection in streamConnections { connection.drop() }
  }
}

final class OriginConnection {
  private enum Step {
    case wait(Int64)
    case send([UInt8])
    case finish, reset, vanish
    /// Nothing more, ever.
    case hold
    case done
  }

  private unowned let origin: Origin
  private let line: Line
  private let reader = MessageReader(isRequest: true)
  private var script: RequestScript?
  private var answer = Answer()
  private var contentBytes = 0
  private var steps: [Step] = []
  private var stepping = false
  private var isAnswered = true
  private var requestIsWhole = true
  private var served = 0
  private var turn = 0
  private var proxyRun: ProxyRun { origin.proxyRun }

  init(_ origin: Origin, _ peer: SimulatedPeer) {
    self.origin = origin
    line = Line(origin.proxyRun.world, accepted: peer, origin.behavior.pace, origin.context)
    if origin.context != nil, !origin.proxyRun.runConditions.isGentle, origin.dice.chance(30) {
      line.corruptAt = origin.dice.roll(20_000)
      origin.isSuspect = true
    }
    line.onBytes = { [unowned self] in received($0) }
    line.onEnd = { [unowned self] _ in steps = [] }
    line.onDrained = { [unowned self] in proceed() }
    idle()
  }

  func drop() { line.reset() }

  private func idle() {
    turn += 1
    guard let time = origin.behavior.idleClose else { return }
    let mine = turn
    proxyRun.after(time) { [unowned self] in
      guard turn == mine, !line.isOver else { return }
      line.close()
    }
  }

  // MARK: In

  private func received(_ bytes: [UInt8]) {
    reader.feed(bytes)
    while !line.isOver {
      // The next request is read when this one is done with.
      if !reader.isInside && !(isAnswered && requestIsWhole) {
        if reader.unread > 0 { proxyRun.fail("request", "a second request before the answer") }
        return
      }
      guard let item = reader.next() else { return }
      switch item {
      case .broken(let why):
        proxyRun.fail("request", "a server reads what is no request: \(why)")
        line.reset()
      case .head(let head): takeHead(head)
      case .content(let bytes): takeContent(bytes)
      case .end: requestEnded()
      }
    }
  }

  private func takeHead(_ head: MessageHead) {
    turn += 1
    guard let script = origin.arrived(head, on: line) else { return line.reset() }
    self.script = script
    answer = script.answer
    if answer.fault == .surplus { origin.isSuspect = true }
    contentBytes = 0
    isAnswered = false
    requestIsWhole = false
    if answer.isEarly {
      begin()
    } else if head.first("expect") != nil {
      steps.append(.send(Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)))
      proceed()
    }
  }

  private func takeContent(_ bytes: ArraySlice<UInt8>) {
    guard let script else { return }
    if script.isRaw { return }
    if let place = Content.difference(bytes, script.id, .request, at: contentBytes) {
      proxyRun.fail("mix-up", "byte \(place) of the content of \(script.id) is not its own")
    }
    contentBytes += bytes.count
    proxyRun.totals.bytes += bytes.count
  }

  private func requestEnded() {
    guard let script else { return }
    requestIsWhole = true
    origin.ended(script, contentBytes, reader.trailers)
    if !answer.isEarly { begin() } else { readyIfDone() }
  }

  // MARK: Out

  private func begin() {
    guard let script else { return }
    proxyRun.note(
      "a server of \(origin.group) answers \(script.id): \(answer.fault) \(answer.status)")
    if line.speaksTLS && origin.dice.chance(150) {
      line.updateKeys()
      proxyRun.totals.keyUpdates += 1
    }
    steps += [.wait(answer.delay)] + makeSteps(script, answer) + [.done]
    proceed()
  }

  private func proceed() {
    guard !stepping, !line.isOver else { return }
    stepping = true
    defer { stepping = false }
    while !steps.isEmpty, !line.isOver, line.isDrained {
      switch steps.removeFirst() {
      case .wait(let time):
        if time == 0 { continue }
        return waitThenProceed(time)
      case .send(let bytes): if !bytes.isEmpty { line.write(bytes) }
      case .finish:
        line.finish()
      case .reset: line.reset()
      case .vanish: line.vanish()
      case .hold:
        steps = []
        return
      case .done:
        isAnswered = true
        served += 1
        readyIfDone()
      }
    }
  }

  private func waitThenProceed(_ time: Int64) {
    let held = steps
    steps = []
    proxyRun.after(time) { [unowned self] in
      guard !line.isOver else { return }
      steps = held + steps
      proceed()
    }
  }

  private func readyIfDone() {
    guard isAnswered, requestIsWhole, !line.isOver else { return }
    if let limit = origin.behavior.requestsPerConnection, served >= limit { return line.close() }
    idle()
    if reader.unread > 0 { received([]) }
  }

  /// The bytes of an answer and what happens between them.
  private func makeSteps(_ script: RequestScript, _ answer: Answer) -> [Step] {
    var steps: [Step] = []
    switch answer.fault {
    case .hangs: return [.hold]
    case .resetsBefore: return [.reset]
    case .closesBefore: return [.finish]
    case .vanishes: return [.vanish]
    case .upgrades:
      return [.send(Array("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc".utf8))]
    case .garbage(let kind): return [.send(Garbage.response(kind, script.id))]
    case .endlessHead:
      let line = Array("X-Endless: 0123456789012345678901234567890123456789\r\n".utf8)
      return [.send(Array("HTTP/1.1 200 OK\r\n".utf8))]
        + (0..<200).flatMap { _ in [Step.send(line + line + line + line + line), .wait(1_000)] }
    case .interimFlood:
      let interim = Array("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".utf8)
      return (0..<80).map { _ in .send(interim) }
    case .none, .surplus, .stops, .resets: break
    }
    for status in answer.interims {
      steps.append(.send(Array("HTTP/1.1 \(status) Interim\r\nX-Interim: 1\r\n\r\n".utf8)))
    }
    var bytes = head(script, answer) + content(script, answer)
    let headCount = bytes.count
    switch answer.fault {
    case .stops(let place), .resets(let place): bytes = Array(bytes.prefix(place % headCount))
    case .surplus: bytes += Array("surplus".utf8)
    default: break
    }
    var at = 0
    while at < bytes.count {
      let count = min(bytes.count - at, answer.pieceBytes)
      steps.append(.send(Array(bytes[at..<(at + count)])))
      at += count
      if answer.pieceGap > 0 && at < bytes.count { steps.append(.wait(answer.pieceGap)) }
    }
    switch answer.fault {
    case .stops: steps.append(.finish)
    case .resets: steps.append(.reset)
    default: if answer.closes || answer.framing == .untilClose { steps.append(.finish) }
    }
    return steps
  }

  private func hasContent(_ script: RequestScript, _ answer: Answer) -> Bool {
    script.method != "HEAD" && answer.status != 204 && answer.status != 304
  }

  private func head(_ script: RequestScript, _ answer: Answer) -> [UInt8] {
    var text = "HTTP/1.\(answer.isOld ? 0 : 1) \(answer.status) Answer\r\n"
    text += "X-Sim: \(script.id)\r\nX-Size: \(answer.size)\r\nServer: sim\r\n"
    if answer.status != 204 {
      switch answer.framing {
      case .length: text += "Content-Length: \(answer.size)\r\n"
      case .chunked: text += "Transfer-Encoding: chunked\r\n"
      case .untilClose: break
      }
    }
    // An end that the content does not show has to be said, or the connection would be kept.
    if answer.closes || (answer.framing == .untilClose && !hasContent(script, answer)) {
      text += "Connection: close, X-Hop\r\nX-Hop: 1\r\n"
    } else if answer.isOld {
      text += "Connection: keep-alive\r\n"
    }
    return Array((text + "\r\n").utf8)
  }

  private func content(_ script: RequestScript, _ answer: Answer) -> [UInt8] {
    guard hasContent(script, answer) else { return [] }
    if answer.framing == .chunked {
      return RequestScript.chunks(
        script.id, .response, answer.size, &origin.dice,
        trailers: (answer.closes ? ["X-Hop: 1"] : [])
          + (answer.hasTrailers ? ["X-Trail: \(script.id)"] : []))
    }
    return Content.bytes(script.id, .response, from: 0, count: answer.size)
  }
}
