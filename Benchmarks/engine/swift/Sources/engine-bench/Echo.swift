// The echo server as somebody would write it with the library: a stream receive for each connection,
// a frame for each answer, one send at a time. It closes a peer that sends without ever reading.
// Connections are numbers of the process, or direct slots.

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
  let listener: Descriptor
  /// Every connection in a direct slot, accepted one at a time: no multishot accept fills slots
  /// that the caller knows.
  let inSlots: Bool

  init(_ options: EngineOptions, inSlots: Bool) throws {
    var engine = try make(E.self, options)
    listener = try engine.listen(loopback(), backlog: 1024, reusePort: false)
    announce(engine.localAddress(listener))
    self.engine = engine
    self.inSlots = inSlots
    connections = .allocate(capacity: options.descriptorLimit)
    for i in 0..<options.descriptorLimit { (connections + i).initialize(to: EchoConnection()) }
    accept()
  }

  private mutating func accept() {
    guard inSlots else {
      return engine.accept(listener, Token(kind: Kind.accept.rawValue, generation: 0, slot: 0))
    }
    let slot = engine.takeSlot()!
    engine.acceptOne(
      listener, into: slot,
      Token(kind: Kind.accept.rawValue, generation: 0, slot: UInt32(slot.rawValue)))
  }

  /// A slot's number has a bit set that no number of the process has; its place is below.
  private func connection(_ number: Int32) -> UnsafeMutablePointer<EchoConnection> {
    connections + Int(number & 0xFF_FFFF)
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
      if completion.result >= 0 { accepted(inSlots ? number : completion.result) }
      if inSlots { accept() }
    case .receive: received(number, completion)
    case .send: sent(number, completion.result)
    case nil: fatalError("a token that nobody made")
    }
  }

  private mutating func accepted(_ number: Int32) {
    connection(number).pointee.receiving = true
    engine.receive(
      Descriptor(rawValue: number), .stream,
      Token(kind: Kind.receive.rawValue, generation: 0, slot: UInt32(number)))
  }

  private mutating func received(_ number: Int32, _ completion: Completion) {
    let connection = connection(number)
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
    connection(number).pointee.sending = true
    engine.send(
      Descriptor(rawValue: number), frame, .quiet,
      Token(kind: Kind.send.rawValue, generation: 0, slot: UInt32(number)))
  }

  private mutating func queue(_ number: Int32, _ slice: consuming BufferSlice) {
    let connection = connection(number)
    guard var frame = connection.pointee.backlog.take() ?? engine.frame(), frame.hasRoom else {
      return engine.shutdown(Descriptor(rawValue: number), .both)
    }
    frame.append(slice)
    connection.pointee.backlog = consume frame
    // The send in front was quiet, and now something waits for it.
    engine.expediteSends()
  }

  private mutating func sent(_ number: Int32, _ result: Int32) {
    let connection = connection(number)
    connection.pointee.sending = false
    let backlog = connection.pointee.backlog.take()
    if let backlog, result >= 0 { send(number, backlog) } else { closeIfDone(number) }
  }

  private mutating func closeIfDone(_ number: Int32) {
    let connection = connection(number)
    guard !connection.pointee.receiving, !connection.pointee.sending else { return }
    engine.close(Descriptor(rawValue: number))
  }
}

/// `echo [slots]`.
func serveEcho<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  var options = options()
  let inSlots = words.first == "slots"
  if inSlots { options.directDescriptors = 2048 }
  var server = try EchoServer<E>(options, inSlots: inSlots)
  server.serve()
}
