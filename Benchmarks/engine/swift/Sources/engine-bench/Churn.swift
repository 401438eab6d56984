// A server of short connections: a request comes, a fixed answer goes, the connection ends. The ways
// to end it, and to begin it, are what is compared.

import MillraceEngine

/// `churn WAY`: `close` ends without a report; `separate` submits shutdown and close one after
/// another as each is reported; `linked` chains send, shutdown and close; `slots` chains accept,
/// receive and send on a direct slot, one connection after another.
struct ChurnServer<E: Engine & ~Copyable>: ~Copyable {
  enum Way: String { case close, separate, linked, slots }
  enum Step: UInt8 { case accept = 1, receive, send, shutdown, close }

  var engine: E
  let listener: Descriptor
  let way: Way
  /// The answer, in memory that every frame shares.
  let answer: StaticString =
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"

  init(_ way: Way) throws {
    var options = options()
    options.directDescriptors = 1024
    options.controlOperations = 4096
    var engine = try make(E.self, options)
    listener = try engine.listen(loopback(), backlog: 1024, reusePort: false)
    announce(engine.localAddress(listener))
    self.engine = engine
    self.way = way
    if way == .slots { acceptIntoSlot() } else { self.engine.accept(listener, token(.accept, 0)) }
  }

  private func token(_ step: Step, _ number: Int32) -> Token {
    Token(kind: step.rawValue, generation: 0, slot: UInt32(bitPattern: number))
  }

  mutating func serve() {
    while true {
      engine.wait(until: nil)
      while let completion = engine.next() { handle(completion) }
    }
  }

  private mutating func acceptIntoSlot() {
    let slot = engine.takeSlot()!
    engine.beginChain()
    engine.acceptOne(listener, into: slot, token(.accept, slot.rawValue))
    engine.receive(slot, .once, token(.receive, slot.rawValue))
    sendAnswer(slot)
    engine.endChain()
  }

  private mutating func sendAnswer(_ socket: Descriptor) {
    var frame = engine.frame()!
    frame.append(answer)
    // The end of the connection waits for it.
    engine.send(socket, frame, .awaited, token(.send, socket.rawValue))
  }

  private mutating func handle(_ completion: Completion) {
    let number = Int32(bitPattern: completion.token.slot)
    let socket = Descriptor(rawValue: number)
    switch Step(rawValue: completion.token.kind) {
    case .accept:
      guard completion.result >= 0 else { fatalError("accept: \(completion.result)") }
      if way == .slots { return acceptIntoSlot() }
      let made = completion.result
      engine.receive(Descriptor(rawValue: made), .once, token(.receive, made))
    case .receive: received(socket, completion)
    case .send:
      switch way {
      case .close, .slots: engine.close(socket)
      case .separate: engine.shutdown(socket, .send, token(.shutdown, number))
      case .linked: break
      }
    case .shutdown: if way == .separate { engine.close(socket, token(.close, number)) }
    case .close: break
    case nil: fatalError("a token that nobody made")
    }
  }

  private mutating func received(_ socket: Descriptor, _ completion: Completion) {
    if completion.hasBytes { _ = engine.takeSlice(completion) }
    guard way != .slots else { return }
    guard completion.result > 0 else { return engine.close(socket) }
    guard way == .linked else { return sendAnswer(socket) }
    engine.beginChain()
    sendAnswer(socket)
    engine.shutdown(socket, .send, token(.shutdown, socket.rawValue))
    engine.close(socket, token(.close, socket.rawValue))
    engine.endChain()
  }
}

func serveChurn<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard let word = words.first, let way = ChurnServer<E>.Way(rawValue: word) else { throw Usage() }
  var server = try ChurnServer<E>(way)
  server.serve()
}
