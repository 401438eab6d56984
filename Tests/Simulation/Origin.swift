// A server behind the proxy, from outside: it reads every request with a strict eye and answers it
// as its errand says, well or badly. What the proxy must never let through is seen here: requests
// that nobody sent, framing that can be read in two ways, a request repeated that must not be.

import MillraceEngine
import TLS

/// How a server treats its connections.
struct OriginManners {
  /// Requests after which it closes, without having said so; nil: never.
  var requestsPerConnection: Int?
  /// Closes a connection that was idle for so long; nil: never.
  var idleClose: Int64?
  var pace = Pace.prompt

  var isSteady: Bool { requestsPerConnection == nil && idleClose == nil }
}

final class Origin {
  unowned let life: Life
  let group: Int
  let address: SocketAddress
  let manners: OriginManners
  /// It speaks TLS.
  let context: TLSContext?
  var dice: SimulatedDice
  /// True once it has done something after which an innocent request may fail on a kept connection.
  var isSuspect = false
  private var connections: [OriginConnection] = []

  init(
    _ life: Life, group: Int, address: SocketAddress, _ manners: OriginManners,
    _ context: TLSContext?, dice: SimulatedDice
  ) {
    self.life = life
    self.group = group
    self.address = address
    self.manners = manners
    self.context = context
    self.dice = dice
    isSuspect = !manners.isSteady
  }

  func open() {
    life.world.listen(address) { [unowned self] peer in
      life.totals.originConnections += 1
      connections.append(OriginConnection(self, peer))
    }
  }

  func shut() { life.world.stopListening(address) }

  func resetAll() { for connection in connections { connection.drop() } }
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
  private var errand: Errand?
  private var answer = Answer()
  private var contentBytes = 0
  private var steps: [Step] = []
  private var stepping = false
  private var isAnswered = true
  private var requestIsWhole = true
  private var served = 0
  private var turn = 0
  private var life: Life { origin.life }

  init(_ origin: Origin, _ peer: SimulatedPeer) {
    self.origin = origin
    line = Line(origin.life.world, accepted: peer, origin.manners.pace, origin.context)
    if origin.context != nil, !origin.life.circumstances.isGentle, origin.dice.chance(30) {
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
    guard let time = origin.manners.idleClose else { return }
    let mine = turn
    life.after(time) { [unowned self] in
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
        if reader.unread > 0 { life.fail("request", "a second request before the answer") }
        return
      }
      guard let item = reader.next() else { return }
      switch item {
      case .broken(let why):
        life.fail("request", "a server reads what is no request: \(why)")
        line.reset()
      case .head(let head): takeHead(head)
      case .content(let bytes): takeContent(bytes)
      case .end: requestEnded()
      }
    }
  }

  private func takeHead(_ head: MessageHead) {
    turn += 1
    guard let text = head.first("x-sim"), let id = Int(text), let errand = life.book[id] else {
      life.fail("smuggled", "a server gets what nobody sent: \(head.start) \(head.fields)")
      return line.reset()
    }
    self.errand = errand
    if !errand.isRaw { check(head, errand) }
    if head.first("x-forwarded-for") == "" {
      life.fail("address", "a request of nobody's reaches a server: \(head.start)")
    }
    errand.arrivals += 1
    if errand.hasInterim && errand.arrivals > 1 {
      life.fail("repeated", "\(errand.id) is tried again behind an interim response")
    }
    life.totals.arrivals += 1
    if errand.arrivals > 1 && !errand.isRaw {
      life.totals.retries += 1
      if !errand.isIdempotent {
        life.fail("repeated", "\(errand.method) \(id) comes to a server \(errand.arrivals) times")
      }
    }
    answer = errand.answers[min(errand.arrivals, errand.answers.count) - 1]
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

  private func check(_ head: MessageHead, _ errand: Errand) {
    let id = errand.id
    func expect(_ holds: Bool, _ what: String) {
      if !holds { life.fail("request", "\(id) reaches a server with \(what)") }
    }
    expect(head.start[0] == errand.method, "method \(head.start[0])")
    expect(head.start[1] == errand.target, "target \(head.start[1])")
    expect(head.start[2] == "HTTP/1.1", "version \(head.start[2])")
    expect(head.all("host") == [errand.host], "Host \(head.all("host"))")
    expect(head.first("x-hop") == nil, "a hop-by-hop field")
    expect(head.all("via").count == 1, "Via \(head.all("via"))")
    expect(head.all("x-forwarded-for").count == 1, "X-Forwarded-For")
    expect(
      head.first("x_forwarded_for") == nil && head.first("x-forwarded-user") == nil,
      "a forged field")
    expect(errand.group == origin.group, "the wrong upstream")
    switch errand.body {
    case .none:
      expect(head.first("transfer-encoding") == nil, "a coding")
    case .length(let size):
      expect(head.first("content-length") == "\(size)", "Content-Length")
    case .chunked: expect(head.first("transfer-encoding") == "chunked", "no chunks")
    }
  }

  private func takeContent(_ bytes: ArraySlice<UInt8>) {
    guard let errand else { return }
    if errand.isRaw { return }
    if let place = Content.difference(bytes, errand.id, .request, at: contentBytes) {
      life.fail("mix-up", "byte \(place) of the content of \(errand.id) is not its own")
    }
    contentBytes += bytes.count
    life.totals.bytes += bytes.count
  }

  private func requestEnded() {
    guard let errand else { return }
    errand.wholeArrivals += 1
    requestIsWhole = true
    if !errand.isRaw && contentBytes != errand.body.size {
      life.fail("cut", "\(errand.id) comes whole with \(contentBytes) of \(errand.body.size) bytes")
    }
    if case .chunked = errand.body, !errand.isRaw {
      let expected = errand.id % 3 == 0 ? ["x-trail"] : []
      if reader.trailers.map(\.name) != expected {
        life.fail("request", "\(errand.id) has the trailers \(reader.trailers)")
      }
    }
    if !answer.isEarly { begin() } else { readyIfDone() }
  }

  // MARK: Out

  private func begin() {
    guard let errand else { return }
    life.note("a server of \(origin.group) answers \(errand.id): \(answer.fault) \(answer.status)")
    if line.speaksTLS && origin.dice.chance(150) {
      line.updateKeys()
      life.totals.keyUpdates += 1
    }
    steps += [.wait(answer.delay)] + script(errand, answer) + [.done]
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
    life.after(time) { [unowned self] in
      guard !line.isOver else { return }
      steps = held + steps
      proceed()
    }
  }

  private func readyIfDone() {
    guard isAnswered, requestIsWhole, !line.isOver else { return }
    if let limit = origin.manners.requestsPerConnection, served >= limit { return line.close() }
    idle()
    if reader.unread > 0 { received([]) }
  }

  /// The bytes of an answer and what happens between them.
  private func script(_ errand: Errand, _ answer: Answer) -> [Step] {
    var steps: [Step] = []
    switch answer.fault {
    case .hangs: return [.hold]
    case .resetsBefore: return [.reset]
    case .closesBefore: return [.finish]
    case .vanishes: return [.vanish]
    case .upgrades:
      return [.send(Array("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nabc".utf8))]
    case .garbage(let kind): return [.send(Garbage.response(kind, errand.id))]
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
    var bytes = head(errand, answer) + content(errand, answer)
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

  private func hasContent(_ errand: Errand, _ answer: Answer) -> Bool {
    errand.method != "HEAD" && answer.status != 204 && answer.status != 304
  }

  private func head(_ errand: Errand, _ answer: Answer) -> [UInt8] {
    var text = "HTTP/1.\(answer.isOld ? 0 : 1) \(answer.status) Answer\r\n"
    text += "X-Sim: \(errand.id)\r\nX-Size: \(answer.size)\r\nServer: sim\r\n"
    if answer.status != 204 {
      switch answer.framing {
      case .length: text += "Content-Length: \(answer.size)\r\n"
      case .chunked: text += "Transfer-Encoding: chunked\r\n"
      case .untilClose: break
      }
    }
    // An end that the content does not show has to be said, or the connection would be kept.
    if answer.closes || (answer.framing == .untilClose && !hasContent(errand, answer)) {
      text += "Connection: close, X-Hop\r\nX-Hop: 1\r\n"
    } else if answer.isOld {
      text += "Connection: keep-alive\r\n"
    }
    return Array((text + "\r\n").utf8)
  }

  private func content(_ errand: Errand, _ answer: Answer) -> [UInt8] {
    guard hasContent(errand, answer) else { return [] }
    if answer.framing == .chunked {
      return Errand.chunks(
        errand.id, .response, answer.size, &origin.dice,
        trailers: (answer.closes ? ["X-Hop: 1"] : [])
          + (answer.hasTrailers ? ["X-Trail: \(errand.id)"] : []))
    }
    return Content.bytes(errand.id, .response, from: 0, count: answer.size)
  }
}
