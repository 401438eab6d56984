// A forwarder of answers: a client's eight bytes go to the origin, as many bytes as they say come
// back. How those are moved is what is compared.

import MillraceEngine

/// `relay ORIGIN-PORT WAY`: `copy`, `splice` and `automatic` are `RelayMethod`s; `caller` receives
/// and sends itself.
struct RelayServer<E: Engine & ~Copyable>: ~Copyable {
  enum Step: UInt8 { case accept = 1, connect, request, forward, relay, receive, send }

  /// By the client's descriptor.
  struct Pair: ~Copyable {
    var origin = Descriptor.none
    /// Bytes of the answer that have not come, and not left.
    var toReceive = 0
    var toSend = 0
    var sending = false
    var backlog: SendFrame?
  }

  var engine: E
  let method: RelayMethod?
  let origin: SocketAddress
  let pairs: UnsafeMutablePointer<Pair>

  init(_ port: UInt16, _ method: RelayMethod?) throws {
    let options = options()
    let origin = try loopback(port)
    var engine = try make(E.self, options)
    let listener = try engine.listen(loopback(), backlog: 64, reusePort: false)
    engine.accept(listener, Token(kind: Step.accept.rawValue, generation: 0, slot: 0))
    announce(engine.localAddress(listener))
    self.engine = engine
    self.method = method
    self.origin = origin
    pairs = .allocate(capacity: options.descriptorLimit)
    for i in 0..<options.descriptorLimit { (pairs + i).initialize(to: Pair()) }
  }

  private func token(_ step: Step, _ client: Descriptor) -> Token {
    Token(kind: step.rawValue, generation: 0, slot: UInt32(client.rawValue))
  }

  mutating func serve() throws {
    while true {
      engine.wait(until: nil)
      while let completion = engine.next() { try handle(completion) }
    }
  }

  private mutating func handle(_ completion: Completion) throws {
    let client = Descriptor(rawValue: Int32(completion.token.slot))
    let pair = pairs + Int(client.rawValue)
    switch Step(rawValue: completion.token.kind) {
    case .accept:
      let made = Descriptor(rawValue: completion.result)
      pairs[Int(made.rawValue)].origin = try engine.connect(origin, token(.connect, made))
    case .connect: engine.receive(client, .once, token(.request, client))
    case .request:
      guard completion.hasBytes else { return }
      let slice = engine.takeSlice(completion)
      pair.pointee.toReceive = Int(slice.bytes.loadUnaligned(as: UInt64.self))
      pair.pointee.toSend = pair.pointee.toReceive
      var frame = engine.frame()!
      frame.append(slice)
      engine.send(pair.pointee.origin, frame, .quiet, token(.forward, client))
      answer(client)
    case .forward: break
    case .relay:
      precondition(completion.result >= 0, "a relay failed: \(completion.result)")
      if completion.isTerminal { engine.receive(client, .once, token(.request, client)) }
    case .receive: received(client, completion)
    case .send: sent(client, completion.result)
    case nil: fatalError("a token that nobody made")
    }
  }

  private mutating func answer(_ client: Descriptor) {
    let pair = pairs + Int(client.rawValue)
    guard let method else {
      return engine.receive(pair.pointee.origin, .once, token(.receive, client))
    }
    engine.relay(
      from: pair.pointee.origin, to: client, count: pair.pointee.toReceive, method,
      token(.relay, client))
  }

  // MARK: By the caller: one part is received while the one before it is sent.

  private mutating func received(_ client: Descriptor, _ completion: Completion) {
    let pair = pairs + Int(client.rawValue)
    precondition(completion.hasBytes, "the origin ended: \(completion.result)")
    let slice = engine.takeSlice(completion)
    pair.pointee.toReceive -= slice.count
    var frame = engine.frame()!
    frame.append(slice)
    if pair.pointee.sending {
      pair.pointee.backlog = consume frame
      return
    }
    send(client, frame)
  }

  private mutating func send(_ client: Descriptor, _ frame: consuming SendFrame) {
    let pair = pairs + Int(client.rawValue)
    pair.pointee.sending = true
    pair.pointee.toSend -= frame.count
    engine.send(client, frame, .awaited, token(.send, client))
    if pair.pointee.toReceive > 0 {
      engine.receive(pair.pointee.origin, .once, token(.receive, client))
    }
  }

  private mutating func sent(_ client: Descriptor, _ result: Int32) {
    let pair = pairs + Int(client.rawValue)
    precondition(result > 0, "a send failed: \(result)")
    pair.pointee.sending = false
    if let frame = pair.pointee.backlog.take() {
      send(client, frame)
    } else if pair.pointee.toSend == 0 {
      engine.receive(client, .once, token(.request, client))
    }
  }
}

func serveRelay<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  let methods: [String: RelayMethod?] = [
    "copy": .copy, "splice": .splice, "automatic": .automatic, "caller": RelayMethod?.none,
  ]
  guard words.count == 2, let port = UInt16(words[0]), let method = methods[words[1]] else {
    throw Usage()
  }
  var server = try RelayServer<E>(port, method)
  try server.serve()
}
