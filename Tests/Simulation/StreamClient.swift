// A client that speaks HTTP/2: several requests at once on one connection, in any order, with windows and
// habits of its own. As `Client`, it looks at every byte that comes back; those that attack are in
// Hostile.swift.

import MillraceEngine
import TLS

/// How a client of HTTP/2 treats its connection.
struct StreamClientBehavior {
  /// Requests in flight at once.
  var depth = 4
  var windows = WindowPolicy()
  var clientFault: ClientBehavior.ClientFault?
  var clientFaultAt: Int64 = 0
  var pace = Pace.prompt
  /// Of a thousand requests, how many are reset by their client.
  var resets = 0
  /// Times at which it sends a frame that has nothing to do with a request.
  var whims: [Int64] = []
  /// It closes without GOAWAY, or says it, or waits until the proxy closes.
  enum Goodbye { case closes, goesAway, waits }
  var goodbye = Goodbye.closes
}

final class StreamClient {
  private unowned let proxyRun: ProxyRun
  let number: Int
  private let scripts: [RequestScript]
  private let behavior: StreamClientBehavior
  private let listener: Int
  private var wire: StreamLine!
  private var dice: SimulatedDice
  private var next = 0
  private var nextStream = 1
  private var inFlight: [WireStream] = []
  /// What is known of responses, by stream.
  private var responses: [Int: Response] = [:]
  private var isLast = false
  private var saidGoodbye = false
  private var lastProgress = 0
  private var stillSince: Int64 = 0
  private(set) var isOver = false

  private struct Response {
    var isOwn = false
    var size: Int?
    var text: [UInt8] = []
    /// Content waits for 100 (Continue).
    var isHeld = false
  }

  init(
    _ proxyRun: ProxyRun, number: Int, listener: Int, _ scripts: [RequestScript],
    _ behavior: StreamClientBehavior, dice: SimulatedDice
  ) {
    self.proxyRun = proxyRun
    self.number = number
    self.listener = listener
    self.scripts = scripts
    self.behavior = behavior
    self.dice = dice
  }

  func start() {
    guard !isOver else { return }
    let line = Line(
      proxyRun.world, to: proxyRun.listenerAddresses[listener], behavior.pace,
      proxyRun.streamContext(listener))
    wire = StreamLine(
      proxyRun.world, line, isClient: true, behavior.windows, dice: dice.split())
    line.onConnected = { [unowned self] in
      proxyRun.totals.connections += 1
      proxyRun.totals.streamConnections += 1
      wire.begin()
      advance()
    }
    line.onEnd = { [unowned self] in lineEnded($0) }
    wire.onHead = { [unowned self] in takeHead($0, $1, ends: $2) }
    wire.onContent = { [unowned self] in takeContent($0, $1) }
    wire.onEnd = { [unowned self] in takeEnd($0, $1) }
    wire.onReset = { [unowned self] in takeReset($0, $1) }
    wire.onGoAway = { [unowned self] in takeGoAway($0, $1) }
    wire.onBroken = { [unowned self] why in
      proxyRun.fail("http2", "client \(number) reads \(why)")
      over("broken")
    }
    if let clientFault = behavior.clientFault {
      proxyRun.after(behavior.clientFaultAt) { [unowned self] in act(clientFault) }
    }
    for time in behavior.whims { proxyRun.after(time) { [unowned self] in whim() } }
    stillSince = proxyRun.world.now
    watch()
  }

  private func watch() {
    proxyRun.after(ProxyRun.pollInterval) { [unowned self] in
      guard !isOver else { return }
      if wire.line.progress != lastProgress {
        lastProgress = wire.line.progress
        stillSince = proxyRun.world.now
      } else if proxyRun.world.now - stillSince > proxyRun.waitLimit {
        gaveUp()
      }
      watch()
    }
  }

  private func gaveUp() {
    if behavior.clientFault == nil {
      proxyRun.fail(
        "hang",
        "client \(number) waited for \(proxyRun.waitLimit / 1_000_000_000) s; in flight "
          + "\(inFlight.map { "\($0.script?.id ?? 0) on \($0.id)" })")
    }
    wire.line.reset()
    over("client gave up")
  }

  // MARK: Out

  private func advance() {
    guard !isOver, !saidGoodbye, wire.line.peer?.isConnected == true else { return }
    while next < scripts.count, !isLast, inFlight.count < min(behavior.depth, wire.peerStreams) {
      send(scripts[next])
      next += 1
    }
    if inFlight.isEmpty && (isLast || next == scripts.count) { goodbye() }
  }

  private func send(_ script: RequestScript) {
    let stream = wire.stream(nextStream)
    nextStream += 2
    proxyRun.note(
      "client \(number) sends \(script.id) on \(stream.id): \(script.method) \(script.target) "
        + "\(script.body)")
    script.outcome = .waiting
    script.sentAt = proxyRun.world.now
    proxyRun.totals.requests += 1
    proxyRun.totals.streamRequests += 1
    inFlight.append(stream)
    stream.script = script
    stream.total = script.body.size
    if case .chunked = script.body, script.id % 3 == 0 {
      stream.trailers = [("x-trail", "\(script.id)")]
    }
    var response = Response()
    // Without a length an end that comes with the head would say that there is no content.
    let ends = script.body == .none || script.body == .length(0)
    response.isHeld = script.expects && !ends
    responses[stream.id] = response
    wire.sendHead(stream, script.streamHead(isTLS: proxyRun.hasTLS(listener)), ends: ends)
    if response.isHeld {
      proxyRun.after(1_000_000_000) { [unowned self] in releaseContent(stream) }
    } else if !ends {
      wire.sendContent(stream)
    }
    guard dice.chance(behavior.resets) else { return }
    script.excuse("its client resets it")
    proxyRun.after(Int64(dice.roll([1, 20_000, 800_000][dice.roll(3)])) * 1_000) {
      [unowned self] in cancel(stream)
    }
  }

  private func releaseContent(_ stream: WireStream) {
    guard !isOver, responses[stream.id]?.isHeld == true else { return }
    responses[stream.id]?.isHeld = false
    wire.sendContent(stream)
  }

  private func cancel(_ stream: WireStream) {
    guard !isOver, inFlight.contains(where: { $0 === stream }) else { return }
    proxyRun.totals.streamResets += 1
    proxyRun.note("client \(number) resets \(stream.script?.id ?? 0)")
    wire.reset(stream, [8, 0, 1, 99][dice.roll(4)])
    lose(stream, "its client resets it")
    advance()
  }

  /// Something that a client may do at any time, and that changes no response.
  private func whim() {
    guard !isOver, !saidGoodbye, wire.line.peer?.isConnected == true else { return }
    let line = wire.line
    switch dice.roll(5) {
    case 0: line.write(Frame.write(Frame.Kind.ping, 0, 0, dice.bytes(8)))
    case 1:
      wire.announce([
        (Frame.Setting.initialWindow, [0, 1, 1_000, 65_535, 300_000][dice.roll(5)])
      ])
    case 2:
      let id = inFlight.isEmpty ? nextStream : inFlight[dice.roll(inFlight.count)].id
      let text = "u=\(dice.roll(8))" + (dice.chance(500) ? ", i" : "")
      line.write(
        Frame.write(Frame.Kind.priorityUpdate, 0, 0, Frame.bytes(id, 4) + Array(text.utf8)))
    case 3: line.write(Frame.write(0xBB, UInt8(dice.roll(256)), dice.roll(9), dice.bytes(20)))
    default:
      line.write(
        Frame.write(Frame.Kind.priority, 0, nextStream + 2, Frame.bytes(0, 4) + [1]))
    }
  }

  private func goodbye() {
    guard !saidGoodbye else { return }
    saidGoodbye = true
    switch behavior.goodbye {
    case .goesAway:
      wire.line.write(Frame.goAway(0, 0))
      fallthrough
    case .closes:
      wire.line.finish()
      wire.line.close()
      over("done")
    case .waits: break
    }
  }

  private func act(_ clientFault: ClientBehavior.ClientFault) {
    guard !isOver else { return }
    proxyRun.note("client \(number) \(clientFault)")
    proxyRun.totals.clientFaults += 1
    for script in scripts where !script.isSettled { script.excuse("the client \(clientFault)") }
    switch clientFault {
    case .resets: wire.line.reset()
    case .vanishes: wire.line.vanish()
    case .closes: wire.line.close()
    case .halfCloses:
      saidGoodbye = true
      wire.line.finish()
      return
    }
    over("clientFault")
  }

  // MARK: In

  private func takeHead(_ stream: WireStream, _ fields: FieldBlock.Fields, ends: Bool) {
    guard let script = stream.script, inFlight.contains(where: { $0 === stream }) else { return }
    guard fields.first?.name == ":status", let status = Int(fields[0].value),
      fields.dropFirst().allSatisfy({ !$0.name.hasPrefix(":") })
    else { return proxyRun.fail("http2", "\(script.id) is answered \(fields)") }
    if status < 200 {
      proxyRun.totals.interims += 1
      script.hasInterim = true
      if status == 101 || ends { proxyRun.fail("http2", "\(script.id) gets \(status)") }
      if status == 100 { releaseContent(stream) }
      return
    }
    let head = MessageHead(start: ["HTTP/2", "\(status)", ""], fields: Array(fields.dropFirst()))
    let isOwn = proxyRun.checkResponse(head, script, "client \(number)")
    responses[stream.id]?.isOwn = isOwn
    responses[stream.id]?.size = head.first("x-size").flatMap { Int($0) }
    if script.method == "HEAD" || status == 204 || status == 304 { responses[stream.id]?.size = 0 }
    if ends { ended(stream) }
  }

  private func takeContent(_ stream: WireStream, _ bytes: ArraySlice<UInt8>) {
    guard let script = stream.script, inFlight.contains(where: { $0 === stream }) else { return }
    if responses[stream.id]?.isOwn == true {
      responses[stream.id]?.text += bytes
    } else if let place = Content.difference(bytes, script.id, .response, at: script.contentBytes) {
      proxyRun.fail("mix-up", "byte \(place) of the answer to \(script.id) is not its own")
    }
    script.contentBytes += bytes.count
  }

  private func takeEnd(_ stream: WireStream, _ trailers: FieldBlock.Fields) {
    guard let script = stream.script else { return }
    if trailers.contains(where: { $0.name == "x-hop" }) {
      proxyRun.fail("response", "a hop-by-hop trailer came through, \(script.id)")
    }
    ended(stream)
  }

  private func ended(_ stream: WireStream) {
    guard let script = stream.script, let response = responses[stream.id],
      let index = inFlight.firstIndex(where: { $0 === stream })
    else { return }
    inFlight.remove(at: index)
    proxyRun.settle(
      script, "client \(number)", isOwn: response.isOwn, text: response.text, size: response.size,
      isStream: true)
    if response.isHeld || dice.chance(300) { wire.reset(stream, 8) }
    responses[stream.id] = nil
    advance()
  }

  private func takeReset(_ stream: WireStream, _ code: Int) {
    guard let script = stream.script, inFlight.contains(where: { $0 === stream }) else { return }
    // RFC 9113 8.7: a stream that is refused has not been processed.
    if code == 7 {
      proxyRun.totals.streamRefusals += 1
      if script.arrivals > 0 && !script.isIdempotent && script.sawHead {
        proxyRun.fail("http2", "\(script.id) is refused behind its response's head")
      }
    }
    lose(stream, "RST_STREAM \(code)")
    advance()
  }

  private func takeGoAway(_ last: Int, _ code: Int) {
    proxyRun.note("client \(number) is told GOAWAY \(last) \(code)")
    isLast = true
    if proxyRun.drainedAt == nil && code != 0 && behavior.clientFault == nil {
      proxyRun.fail("http2", "client \(number) did nothing wrong and is told GOAWAY \(code)")
    }
    for stream in inFlight where stream.id > last {
      stream.script?.excuse("behind the last stream of its connection")
      lose(stream, "GOAWAY")
    }
    for script in scripts[next...] { script.excuse("behind the last stream of its connection") }
    advance()
  }

  // MARK: The end

  private func lineEnded(_ why: Line.End) {
    proxyRun.lineEnded(why, "client \(number)")
    over("\(why)")
  }

  /// As `Client.die`.
  func die() {
    isOver = true
    wire?.line.reset()
  }

  private func lose(_ stream: WireStream, _ why: String) {
    inFlight.removeAll { $0 === stream }
    responses[stream.id] = nil
    guard let script = stream.script, !script.isSettled else { return }
    script.outcome = .cut
    script.settledAt = proxyRun.world.now
    proxyRun.totals.cuts += 1
    proxyRun.note("client \(number) loses \(script.id): \(why)")
  }

  private func over(_ why: String) {
    guard !isOver else { return }
    isOver = true
    for stream in inFlight { lose(stream, why) }
    proxyRun.clientIsOver()
  }
}
