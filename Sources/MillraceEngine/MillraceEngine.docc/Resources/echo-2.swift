import MillraceEngine

enum Step: UInt8 { case accept }

var engine = try Epoll(EngineOptions())

let address = try SocketAddress.resolve(host: "127.0.0.1", port: 7007)[0]
let listener = try engine.listen(address, backlog: 511, reusePort: false)
engine.accept(listener, Token(kind: Step.accept.rawValue, generation: 0, slot: 0))

var accepting = true
while accepting {
  engine.wait(until: nil)
  while let completion = engine.next() {
    accepting = !completion.isTerminal
    guard completion.result >= 0 else { continue }
    let connection = Descriptor(rawValue: completion.result)
    print("a connection from \(engine.peerAddress(connection)!)")
    engine.close(connection)
  }
}
