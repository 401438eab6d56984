import MillraceEngine

enum Step: UInt8 { case accept, receive, send }

func token(_ step: Step, _ descriptor: Descriptor) -> Token {
  Token(kind: step.rawValue, generation: 0, slot: UInt32(descriptor.rawValue))
}

var engine = try Epoll(EngineOptions())

let address = try SocketAddress.resolve(host: "127.0.0.1", port: 7007)[0]
let listener = try engine.listen(address, backlog: 511, reusePort: false)
engine.accept(listener, token(.accept, listener))

var accepting = true
while accepting {
  engine.wait(until: nil)
  while let completion = engine.next() {
    let socket = Descriptor(rawValue: Int32(completion.token.slot))
    switch Step(rawValue: completion.token.kind)! {
    case .accept:
      accepting = !completion.isTerminal
      guard completion.result >= 0 else { continue }
      let connection = Descriptor(rawValue: completion.result)
      engine.receive(connection, .once, token(.receive, connection))
    case .receive:
      // No bytes: the peer has ended its side, or an error has.
      guard completion.hasBytes else {
        engine.close(socket)
        continue
      }
      let slice = engine.takeSlice(completion)
      guard var frame = engine.frame() else {
        engine.close(socket)
        continue
      }
      frame.append(slice)
      engine.send(socket, frame, .awaited, token(.send, socket))
    case .send:
      if completion.result >= 0 {
        engine.receive(socket, .once, token(.receive, socket))
      } else {
        engine.close(socket)
      }
    }
  }
}
