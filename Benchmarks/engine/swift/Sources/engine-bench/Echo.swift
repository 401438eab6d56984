// The echo server as somebody would write it with the library: a stream receive for each connection,
// a frame for each answer, one send at a time. It closes a peer that sends without ever reading.

import MillraceEngine

/// What a token is about; its slot is the descriptor.
enum Kind: UInt8 {
  case accept = 1, receive, send
}

struct EchoConnection: ~Copyable {
  var sending = false
  var receiving = false
  /// What came while a send was on its way.
  var backlog: SendFrame?
}

struct EchoServer<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let connections: UnsafeMutablePointer<EchoConnection>

  init(_ options: EngineOptions) throws {
    var engine = try E(options)
    let listener = try engine.listen(loopback(), backlog: 1024, reusePort: false)
    engine.accept(listener, Token(kind: Kind.accept.rawValue, generation: 0, slot: 0))
    announce(engine.localAddress(listener))
    self.engine = engine
    connections = .allocate(capacity: options.descriptorLimit)
    for i in 0..<options.descriptorLimit { (connections + i).initialize(to: EchoConnection()) }
  }

  mutating func serve() {
    while true {
      engine.wait(until: nil)
      while let completion = engine.next() { handle(completion) }
    }
  }

  private mutating func handle(_ completion: Completion) {
    let number = Int32(truncatingIfNeeded: completion.token.slot)
    switch Kind(rawValue: completion.token.kind) {
    case .accept:
      if completion.result >= 0 { accepted(completion.result) }
    case .receive: received(number, completion)
    case .send: sent(number, completion.result)
    case nil: fatalError("a token that nobody made")
    }
  }

  private mutating func accepted(_ number: Int32) {
    connections[Int(number)].receiving = true
    engine.receive(
      Descriptor(rawValue: number), .stream,
      Token(kind: Kind.receive.rawValue, generation: 0, slot: UInt32(number)))
  }

  private mutating func received(_ number: Int32, _ completion: Completion) {
    let connection = connections + Int(number)
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      if connection.pointee.sending {
        queue(number, slice)
      } else if var frame = engine.frame() {
        frame.append(slice)
        send(number, frame)
      }
    }
    guard completion.isTerminal else { return }
    connection.pointee.receiving = false
    closeIfDone(number)
  }

  private mutating func send(_ number: Int32, _ frame: consuming SendFrame) {
    connections[Int(number)].sending = true
    engine.send(
      Descriptor(rawValue: number), frame, .quiet,
      Token(kind: Kind.send.rawValue, generation: 0, slot: UInt32(number)))
  }

  private mutating func queue(_ number: Int32, _ slice: consuming BufferSlice) {
    let connection = connections + Int(number)
    guard var frame = connection.pointee.backlog.take() ?? engine.frame(), frame.hasRoom else {
      return engine.shutdown(Descriptor(rawValue: number), .both)
    }
    frame.append(slice)
    connection.pointee.backlog = consume frame
  }

  private mutating func sent(_ number: Int32, _ result: Int32) {
    let connection = connections + Int(number)
    connection.pointee.sending = false
    let backlog = connection.pointee.backlog.take()
    if let backlog, result >= 0 { send(number, backlog) } else { closeIfDone(number) }
  }

  private mutating func closeIfDone(_ number: Int32) {
    let connection = connections + Int(number)
    guard !connection.pointee.receiving, !connection.pointee.sending else { return }
    engine.close(Descriptor(rawValue: number))
  }
}

func serveEcho<E: Engine & ~Copyable>(_: E.Type) throws {
  var server = try EchoServer<E>(options())
  server.serve()
}
