// A forwarder of connections: what a client sends goes to the origin and the other way round, until both
// have ended. Nothing is looked at; how the bytes are moved is what is compared.

import MillraceEngine

/// `tunnel ORIGIN-PORT WAY`: a `RelayMethod`.
struct TunnelServer<E: Engine & ~Copyable>: ~Copyable {
  enum Step: UInt8 { case accept = 1, connect, up, down }

  /// More than any client sends.
  private static var count: Int { 1 << 40 }

  var engine: E
  let method: RelayMethod
  let origin: SocketAddress
  /// The origin's descriptor and the directions that go on, by the client's.
  let origins: UnsafeMutablePointer<Descriptor>
  let open: UnsafeMutablePointer<Int>

  init(_ port: UInt16, _ method: RelayMethod) throws {
    let options = options()
    let origin = try loopback(port)
    var engine = try make(E.self, options)
    let listener = try engine.listen(loopback(), backlog: 64, reusePort: false)
    engine.accept(listener, Token(kind: Step.accept.rawValue, generation: 0, slot: 0))
    announce(engine.localAddress(listener))
    self.engine = engine
    self.method = method
    self.origin = origin
    origins = .allocate(capacity: options.descriptorLimit)
    open = .allocate(capacity: options.descriptorLimit)
    for i in 0..<options.descriptorLimit {
      (origins + i).initialize(to: .none)
      (open + i).initialize(to: 0)
    }
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
    let place = Int(client.rawValue)
    switch Step(rawValue: completion.token.kind) {
    case .accept:
      let made = Descriptor(rawValue: completion.result)
      origins[Int(made.rawValue)] = try engine.connect(origin, token(.connect, made))
    case .connect:
      open[place] = 2
      engine.relay(
        from: client, to: origins[place], count: Self.count, method, token(.up, client))
      engine.relay(
        from: origins[place], to: client, count: Self.count, method, token(.down, client))
    case .up: if completion.isTerminal { ended(client, of: origins[place]) }
    case .down: if completion.isTerminal { ended(client, of: client) }
    case nil: fatalError("a token that nobody made")
    }
  }

  private mutating func ended(_ client: Descriptor, of sink: Descriptor) {
    engine.shutdown(sink, .send)
    open[Int(client.rawValue)] -= 1
    guard open[Int(client.rawValue)] == 0 else { return }
    engine.close(origins[Int(client.rawValue)])
    engine.close(client)
  }
}

func serveTunnel<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  let methods: [String: RelayMethod] = ["copy": .copy, "splice": .splice]
  guard words.count == 2, let port = UInt16(words[0]), let method = methods[words[1]] else {
    throw Usage()
  }
  var server = try TunnelServer<E>(port, method)
  try server.serve()
}
