// A client that speaks HTTP: it sends its errands in order over one connection, so many at a time,
// and looks at every byte that comes back. It may misbehave as a person's browser does (go away at
// any moment); those that attack are in Hostile.swift.

import MillraceEngine
import TLS

/// How a client treats its connection.
struct Manners {
  /// Requests in flight at once.
  var depth = 1
  var thinkTime: Int64 = 0
  /// How it ends when all is answered.
  enum Goodbye { case closes, halfCloses, waits }
  var goodbye = Goodbye.closes
  /// What it does at a moment of its own, whatever is going on.
  enum Whim { case resets, vanishes, closes, halfCloses }
  var whim: Whim?
  var whimAt: Int64 = 0
  var pace = Pace.prompt

  var isPatient: Bool { whim == nil }
}

final class Client {
  private unowned let life: Life
  let number: Int
  private let errands: [Errand]
  private let manners: Manners
  private let listener: Int
  private var line: Line!
  private let reader = MessageReader(isRequest: false)
  private var dice: SimulatedDice
  private var next = 0
  /// Sent, and not answered whole, in order.
  private var inFlight: [Errand] = []
  /// Sent, and not known to be with the network.
  private var unconfirmed: [Errand] = []
  /// The content of an errand that waits for 100 (Continue).
  private var heldContent: (errand: Errand, bytes: [UInt8])?
  private var current: Response?
  private var isLast = false
  private var hasCounted = false
  private var saidGoodbye = false
  private var lastProgress = 0
  private var stillSince: Int64 = 0
  private(set) var isOver = false
  private let host: String

  /// A final response as far as it has been read.
  private struct Response {
    var isOwn: Bool
    var size: Int?
    var text: [UInt8] = []
    var closes: Bool
  }

  init(
    _ life: Life, number: Int, listener: Int, _ errands: [Errand], _ manners: Manners,
    host: String, dice: SimulatedDice
  ) {
    self.life = life
    self.number = number
    self.listener = listener
    self.errands = errands
    self.manners = manners
    self.host = host
    self.dice = dice
  }

  func start() {
    guard !isOver else { return }
    let context = life.clientContext(listener)
    line = Line(
      life.world, to: life.listenerAddresses[listener], manners.pace, context, host: host,
      ticket: context == nil ? nil : life.takeTicket(&dice))
    line.onConnected = { [unowned self] in
      life.totals.connections += 1
      advance()
    }
    line.onBytes = { [unowned self] in received($0) }
    line.onEnd = { [unowned self] in lineEnded($0) }
    line.onDrained = { [unowned self] in
      guard line.isDrained else { return }
      for errand in unconfirmed { errand.sentAt = life.world.now }
      unconfirmed = []
    }
    if let whim = manners.whim { life.after(manners.whimAt) { [unowned self] in act(whim) } }
    stillSince = life.world.now
    watch()
  }

  private func watch() {
    life.after(Life.glance) { [unowned self] in
      guard !isOver else { return }
      if line.progress != lastProgress {
        lastProgress = line.progress
        stillSince = life.world.now
      } else if life.world.now - stillSince > life.patience {
        gaveUp()
      }
      watch()
    }
  }

  private func gaveUp() {
    if manners.isPatient && !(saidGoodbye && manners.goodbye == .closes) {
      life.fail(
        "hang",
        "client \(number) waited for \(life.patience / 1_000_000_000) s; in flight "
          + "\(inFlight.map(\.id)), last=\(isLast)")
    }
    line.reset()
    over("client gave up")
  }

  // MARK: Out

  private func advance() {
    guard !isOver, !saidGoodbye else { return }
    while next < errands.count, inFlight.count < manners.depth, heldContent == nil, !isLast {
      if errands[next].expects && !inFlight.isEmpty { return }
      // RFC 9112 9.3.2 and 9.6: nothing is pipelined behind a request that ends its connection, or
      // that may.
      if let last = inFlight.last, last.closes || last.isOld { return }
      send(errands[next])
      next += 1
    }
    if next == errands.count && inFlight.isEmpty && heldContent == nil { goodbye() }
  }

  private func send(_ errand: Errand) {
    life.note(
      "client \(number) sends \(errand.id): \(errand.method) \(errand.target) \(errand.body)")
    errand.outcome = .waiting
    life.totals.requests += 1
    inFlight.append(errand)
    unconfirmed.append(errand)
    let content = errand.content(&dice)
    if errand.expects && !content.isEmpty {
      heldContent = (errand, content)
      line.write(errand.head())
      // RFC 9110 10.1.1: a client does not wait for ever.
      life.after(1_000_000_000) { [unowned self] in releaseContent(errand) }
    } else {
      line.write(errand.head() + content)
    }
  }

  private func releaseContent(_ errand: Errand) {
    guard let held = heldContent, held.errand === errand else { return }
    heldContent = nil
    if !isOver {
      line.write(held.bytes)
      advance()
    }
  }

  private func goodbye() {
    guard !saidGoodbye else { return }
    saidGoodbye = true
    switch manners.goodbye {
    case .closes:
      if let ticket = line.ticket() { life.keep(ticket) }
      line.finish()
      line.close()
      over("done")
    case .halfCloses: line.finish()
    case .waits: break
    }
  }

  private func act(_ whim: Manners.Whim) {
    guard !isOver else { return }
    life.note("client \(number) \(whim)")
    life.totals.whims += 1
    for errand in errands where !errand.isSettled { errand.excuse("the client \(whim)") }
    switch whim {
    case .resets: line.reset()
    case .vanishes: line.vanish()
    case .closes: line.close()
    case .halfCloses:
      saidGoodbye = true
      line.finish()
      return
    }
    over("whim")
  }

  // MARK: In

  private func received(_ bytes: [UInt8]) {
    reader.feed(bytes)
    while !isOver {
      if !reader.isInside { reader.answersHead = inFlight.first?.method == "HEAD" }
      guard let item = reader.next() else { break }
      take(item)
    }
  }

  private func take(_ item: MessageReader.Item) {
    switch item {
    case .broken(let why):
      life.fail("response", "client \(number) reads what is no response: \(why)")
      line.reset()
      over("broken")
    case .head(let head): takeHead(head)
    case .content(let bytes): takeContent(bytes)
    case .end: responseEnded()
    }
  }

  private func takeHead(_ head: MessageHead) {
    guard let errand = inFlight.first else {
      if isLast {
        return life.fail("order", "client \(number) gets \(head.status) behind the last response")
      }
      return life.fail("order", "client \(number) gets \(head.status) without having asked")
    }
    if head.status < 200 {
      life.totals.interims += 1
      errand.hasInterim = true
      if errand.isOld { life.fail("response", "an interim response to HTTP/1.0, \(errand.id)") }
      if head.status == 100 { releaseContent(errand) }
      return
    }
    errand.sawHead = true
    errand.status = head.status
    let options = head.all("connection").joined(separator: ",").lowercased()
    let id = head.first("x-sim")
    if let id, id != "\(errand.id)" {
      life.fail("mix-up", "client \(number) asked \(errand.id) and is answered \(id)")
    }
    if head.first("x-hop") != nil { life.fail("response", "a hop-by-hop field came through") }
    if head.all("date").count != 1 {
      life.fail("response", "Date is \(head.all("date")) in the answer to \(errand.id)")
    }
    if id != nil && head.all("via") != ["1.1 millrace"] && head.all("via") != ["1.0 millrace"] {
      life.fail("response", "Via is \(head.all("via")) in the answer to \(errand.id)")
    }
    if id != nil && errand.arrivals == 0 {
      life.fail("mix-up", "\(errand.id) is answered by a server that never saw it")
    }
    var response = Response(
      isOwn: id == nil, size: head.first("x-size").flatMap { Int($0) },
      closes: options.contains("close") || (errand.isOld && !options.contains("keep-alive")))
    if head.start[0] != "HTTP/1.1" { life.fail("response", "version \(head.start[0])") }
    if errand.method == "HEAD" || head.status == 204 || head.status == 304 { response.size = 0 }
    current = response
  }

  private func takeContent(_ bytes: ArraySlice<UInt8>) {
    guard var response = current, let errand = inFlight.first else { return }
    if response.isOwn {
      response.text += bytes
      current = response
    } else if let place = Content.difference(bytes, errand.id, .response, at: errand.contentBytes) {
      life.fail("mix-up", "byte \(place) of the answer to \(errand.id) is not its own")
    }
    errand.contentBytes += bytes.count
  }

  private func responseEnded() {
    guard let response = current else {
      // The end of an interim response's head.
      return
    }
    current = nil
    let errand = inFlight.removeFirst()
    if reader.trailers.contains(where: { $0.name == "x-hop" }) {
      life.fail("response", "a hop-by-hop trailer came through, \(errand.id)")
    }
    settle(errand, response)
    releaseContent(errand)
    if response.closes {
      isLast = true
      for other in inFlight { other.excuse("behind the last response of its connection") }
      for other in errands[next...] { other.excuse("behind the last response of its connection") }
      unconfirmed = []
      if manners.goodbye != .waits && !line.isDrained { return }
      return
    }
    if manners.thinkTime > 0 {
      life.after(manners.thinkTime) { [unowned self] in advance() }
    } else {
      advance()
    }
  }

  private func settle(_ errand: Errand, _ response: Response) {
    errand.settledAt = life.world.now
    life.totals.responses += 1
    if !hasCounted && line.hasResumed { life.totals.resumptions += 1 }
    hasCounted = true
    if response.isOwn {
      let label = ownLabel(errand, response)
      errand.outcome = .refused(label: label)
      life.totals.refusals[label, default: 0] += 1
      life.note("client \(number) got \(errand.status) (\(label)) for \(errand.id)")
      return
    }
    errand.outcome = .served
    life.totals.bytes += errand.contentBytes
    life.note(
      "client \(number) got \(errand.status), \(errand.contentBytes) bytes, for \(errand.id)")
    if let size = response.size, errand.contentBytes != size {
      life.fail(
        "cut", "\(errand.id) looks whole with \(errand.contentBytes) of \(size) bytes")
    }
  }

  /// `502 Bad Gateway (upstream_reset)` without content to HEAD, with it otherwise.
  private func ownLabel(_ errand: Errand, _ response: Response) -> String {
    if errand.method == "HEAD" { return "head" }
    let text = String(decoding: response.text, as: UTF8.self)
    guard text.hasPrefix("\(errand.status) "), text.hasSuffix(")\n"),
      let open = text.lastIndex(of: "(")
    else {
      life.fail("reason", "\(errand.id) is refused without a reason: \(text.debugDescription)")
      return "none"
    }
    return String(text[text.index(after: open)...].dropLast(2))
  }

  // MARK: The end

  private func lineEnded(_ why: Line.End) {
    if why == .finished, case .end? = reader.finish() { responseEnded() }
    if why == .finished && reader.unread > 0 {
      life.note("client \(number) is left with \(reader.unread) bytes of a response")
    }
    life.note("client \(number) is ended: \(why)")
    switch why {
    case .refused: life.totals.refused += 1
    case .reset: life.totals.resets += 1
    case .failed: life.totals.tlsFailures += 1
    case .finished: break
    }
    if why == .refused && !life.mayRefuse { life.fail("refused", "client \(number) is refused") }
    over("\(why)")
  }

  /// The machine on the other side has lost its power, and everything that comes from it is a
  /// ghost's.
  func die() {
    isOver = true
    heldContent = nil
    line?.reset()
  }

  private func over(_ why: String) {
    guard !isOver else { return }
    isOver = true
    heldContent = nil
    // A cut takes with it what was answered before on the same connection and not yet read, and what
    // was asked behind it.
    if let cause = inFlight.first(where: { !$0.excuses.isEmpty }) {
      for other in inFlight { other.excuse("beside \(cause.id), which ended early") }
    }
    for errand in inFlight where !errand.isSettled {
      errand.outcome = .cut
      errand.settledAt = life.world.now
      life.totals.cuts += 1
      life.note("client \(number) loses \(errand.id): \(why)")
    }
    life.clientIsOver()
  }
}
