// A client that speaks HTTP: it sends its request scripts in order over one connection, so many at a time,
// and looks at every byte that comes back. It may misbehave as a person's browser does (go away at
// any moment); those that attack are in Hostile.swift.

import MillraceEngine
import TLS

/// How a client treats its connection.
struct ClientBehavior {
  /// Requests in flight at once.
  var depth = 1
  var thinkTime: Int64 = 0
  /// How it ends when all is answered.
  enum Goodbye { case closes, halfCloses, waits }
  var goodbye = Goodbye.closes
  /// What it does at a moment of its own, whatever is going on.
  enum ClientFault { case resets, vanishes, closes, halfCloses }
  var clientFault: ClientFault?
  var clientFaultAt: Int64 = 0
  var pace = Pace.prompt

  var isPatient: Bool { clientFault == nil }
}

final class Client {
  private unowned let proxyRun: ProxyRun
  let number: Int
  private let scripts: [RequestScript]
  private let behavior: ClientBehavior
  private let listener: Int
  private var line: Line!
  private let reader = MessageReader(isRequest: false)
  private var dice: SimulatedDice
  private var next = 0
  /// Sent, and not answered whole, in order.
  private var inFlight: [RequestScript] = []
  /// Sent, and not known to be with the network.
  private var unconfirmed: [RequestScript] = []
  /// The content of an request script that waits for 100 (Continue).
  private var heldContent: (script: RequestScript, bytes: [UInt8])?
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
    _ proxyRun: ProxyRun, number: Int, listener: Int, _ scripts: [RequestScript],
    _ behavior: ClientBehavior,
    host: String, dice: SimulatedDice
  ) {
    self.proxyRun = proxyRun
    self.number = number
    self.listener = listener
    self.scripts = scripts
    self.behavior = behavior
    self.host = host
    self.dice = dice
  }

  func start() {
    guard !isOver else { return }
    let context = proxyRun.clientContext(listener)
    line = Line(
      proxyRun.world, to: proxyRun.listenerAddresses[listener], behavior.pace, context, host: host,
      ticket: context == nil ? nil : proxyRun.takeTicket(&dice))
    line.onConnected = { [unowned self] in
      proxyRun.totals.connections += 1
      advance()
    }
    line.onBytes = { [unowned self] in received($0) }
    line.onEnd = { [unowned self] in lineEnded($0) }
    line.onDrained = { [unowned self] in
      guard line.isDrained else { return }
      for script in unconfirmed { script.sentAt = proxyRun.world.now }
      unconfirmed = []
    }
    if let clientFault = behavior.clientFault {
      proxyRun.after(behavior.clientFaultAt) { [unowned self] in act(clientFault) }
    }
    stillSince = proxyRun.world.now
    watch()
  }

  private func watch() {
    proxyRun.after(ProxyRun.pollInterval) { [unowned self] in
      guard !isOver else { return }
      if line.progress != lastProgress {
        lastProgress = line.progress
        stillSince = proxyRun.world.now
      } else if proxyRun.world.now - stillSince > proxyRun.waitLimit {
        gaveUp()
      }
      watch()
    }
  }

  private func gaveUp() {
    if behavior.isPatient && !(saidGoodbye && behavior.goodbye == .closes) {
      proxyRun.fail(
        "hang",
        "client \(number) waited for \(proxyRun.waitLimit / 1_000_000_000) s; in flight "
          + "\(inFlight.map(\.id)), last=\(isLast)")
    }
    line.reset()
    over("client gave up")
  }

  // MARK: Out

  private func advance() {
    guard !isOver, !saidGoodbye else { return }
    while next < scripts.count, inFlight.count < behavior.depth, heldContent == nil, !isLast {
      if scripts[next].expects && !inFlight.isEmpty { return }
      // RFC 9112 9.3.2 and 9.6: nothing is pipelined behind a request that ends its connection, or
      // that may.
      if let last = inFlight.last, last.closes || last.isOld { return }
      send(scripts[next])
      next += 1
    }
    if next == scripts.count && inFlight.isEmpty && heldContent == nil { goodbye() }
  }

  private func send(_ script: RequestScript) {
    proxyRun.note(
      "client \(number) sends \(script.id): \(script.method) \(script.target) \(script.body)")
    script.outcome = .waiting
    proxyRun.totals.requests += 1
    inFlight.append(script)
    unconfirmed.append(script)
    let content = script.content(&dice)
    if script.expects && !content.isEmpty {
      heldContent = (script, content)
      line.write(script.head())
      // RFC 9110 10.1.1: a client does not wait for ever.
      proxyRun.after(1_000_000_000) { [unowned self] in releaseContent(script) }
    } else {
      line.write(script.head() + content)
    }
  }

  private func releaseContent(_ script: RequestScript) {
    guard let held = heldContent, held.script === script else { return }
    heldContent = nil
    if !isOver {
      line.write(held.bytes)
      advance()
    }
  }

  private func goodbye() {
    guard !saidGoodbye else { return }
    saidGoodbye = true
    switch behavior.goodbye {
    case .closes:
      if let ticket = line.ticket() { proxyRun.keep(ticket) }
      line.finish()
      line.close()
      over("done")
    case .halfCloses: line.finish()
    case .waits: break
    }
  }

  private func act(_ clientFault: ClientBehavior.ClientFault) {
    guard !isOver else { return }
    proxyRun.note("client \(number) \(clientFault)")
    proxyRun.totals.clientFaults += 1
    for script in scripts where !script.isSettled { script.excuse("the client \(clientFault)") }
    switch clientFault {
    case .resets: line.reset()
    case .vanishes: line.vanish()
    case .closes: line.close()
    case .halfCloses:
      saidGoodbye = true
      line.finish()
      return
    }
    over("clientFault")
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
      proxyRun.fail("response", "client \(number) reads what is no response: \(why)")
      line.reset()
      over("broken")
    case .head(let head): takeHead(head)
    case .content(let bytes): takeContent(bytes)
    case .end: responseEnded()
    }
  }

  private func takeHead(_ head: MessageHead) {
    guard let script = inFlight.first else {
      if isLast {
        return proxyRun.fail(
          "order", "client \(number) gets \(head.status) behind the last response")
      }
      return proxyRun.fail("order", "client \(number) gets \(head.status) without having asked")
    }
    if head.status < 200 {
      proxyRun.totals.interims += 1
      script.hasInterim = true
      if script.isOld { proxyRun.fail("response", "an interim response to HTTP/1.0, \(script.id)") }
      if head.status == 100 { releaseContent(script) }
      return
    }
    let isOwn = proxyRun.checkResponse(head, script, "client \(number)")
    let options = head.all("connection").joined(separator: ",").lowercased()
    var response = Response(
      isOwn: isOwn, size: head.first("x-size").flatMap { Int($0) },
      closes: options.contains("close") || (script.isOld && !options.contains("keep-alive")))
    if head.start[0] != "HTTP/1.1" { proxyRun.fail("response", "version \(head.start[0])") }
    if script.method == "HEAD" || head.status == 204 || head.status == 304 { response.size = 0 }
    current = response
  }

  private func takeContent(_ bytes: ArraySlice<UInt8>) {
    guard var response = current, let script = inFlight.first else { return }
    if response.isOwn {
      response.text += bytes
      current = response
    } else if let place = Content.difference(bytes, script.id, .response, at: script.contentBytes) {
      proxyRun.fail("mix-up", "byte \(place) of the answer to \(script.id) is not its own")
    }
    script.contentBytes += bytes.count
  }

  private func responseEnded() {
    guard let response = current else {
      // The end of an interim response's head.
      return
    }
    current = nil
    let script = inFlight.removeFirst()
    if reader.trailers.contains(where: { $0.name == "x-hop" }) {
      proxyRun.fail("response", "a hop-by-hop trailer came through, \(script.id)")
    }
    settle(script, response)
    releaseContent(script)
    if response.closes {
      isLast = true
      for other in inFlight { other.excuse("behind the last response of its connection") }
      for other in scripts[next...] { other.excuse("behind the last response of its connection") }
      unconfirmed = []
      if behavior.goodbye != .waits && !line.isDrained { return }
      return
    }
    if behavior.thinkTime > 0 {
      proxyRun.after(behavior.thinkTime) { [unowned self] in advance() }
    } else {
      advance()
    }
  }

  private func settle(_ script: RequestScript, _ response: Response) {
    if !hasCounted && line.hasResumed { proxyRun.totals.resumptions += 1 }
    hasCounted = true
    proxyRun.settle(
      script, "client \(number)", isOwn: response.isOwn, text: response.text, size: response.size)
  }

  // MARK: The end

  private func lineEnded(_ why: Line.End) {
    if why == .finished, case .end? = reader.finish() { responseEnded() }
    if why == .finished && reader.unread > 0 {
      proxyRun.note("client \(number) is left with \(reader.unread) bytes of a response")
    }
    proxyRun.lineEnded(why, "client \(number)")
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
    for script in inFlight where !script.isSettled {
      script.outcome = .cut
      script.settledAt = proxyRun.world.now
      proxyRun.totals.cuts += 1
      proxyRun.note("client \(number) loses \(script.id): \(why)")
    }
    proxyRun.clientIsOver()
  }
}
