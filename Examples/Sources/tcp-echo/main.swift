// A TCP echo server: the engine's loop in its smallest form.
//
// What to see here:
// - The loop is a `while`: wait, take completions, act. Nothing calls back.
// - A token names an operation. Here it is a kind and a descriptor, and no table is needed: each
//   connection has exactly one operation in flight, so a descriptor is closed only when nothing
//   can come for it any more.
// - Received bytes are a slice of the engine's memory. Appended to a frame and sent, they are never
//   copied, and their buffer goes back when the send has ended.
// - `.once` sets the pace: nothing more is received until the echo has left. A peer that does not
//   read is held back by TCP, and costs one buffer.

import Glibc
import MillraceEngine
import Support

enum Step: UInt8 { case accept, receive, send }

struct Echo<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let listener: Descriptor
  var accepting = true
  var connections: Set<Int32> = []

  init(_ engine: consuming E, _ address: SocketAddress) throws {
    self.engine = engine
    listener = try self.engine.listen(address, backlog: 511, reusePort: false)
    say("listening on \(self.engine.localAddress(listener)!) (\(self.engine.kind.rawValue))")
    self.engine.accept(listener, token(.accept, listener))
  }

  func token(_ step: Step, _ descriptor: Descriptor) -> Token {
    Token(kind: step.rawValue, generation: 0, slot: UInt32(descriptor.rawValue))
  }

  mutating func run(_ stop: StopSignals) {
    var stopping = false
    while accepting || !connections.isEmpty {
      engine.wait(until: nil)
      while let completion = engine.next() { handle(completion, stopping) }
      if stop.isRequested && !stopping {
        stopping = true
        engine.stopAccepting(listener)
        // The receives end as if the peers had; what was received before still goes back.
        for socket in connections { engine.shutdown(Descriptor(rawValue: socket), .receive) }
      }
    }
    while let late = engine.acceptNow(listener) { engine.close(late) }
    engine.close(listener)
    engine.wait(until: 0)
  }

  mutating func handle(_ completion: Completion, _ stopping: Bool) {
    let socket = Descriptor(rawValue: Int32(completion.token.slot))
    switch Step(rawValue: completion.token.kind)! {
    case .accept:
      accepting = !completion.isTerminal
      if completion.result >= 0 {
        let new = Descriptor(rawValue: completion.result)
        connections.insert(new.rawValue)
        engine.receive(new, .once, token(.receive, new))
        if stopping { engine.shutdown(new, .receive) }
      } else if completion.result != -ECANCELED {
        say("accept: \(String(cString: strerror(-completion.result)))")
      }
    case .receive:
      guard completion.hasBytes, var frame = engine.frame() else {
        return close(socket, completion)
      }
      frame.append(engine.takeSlice(completion))
      engine.send(socket, frame, .awaited, token(.send, socket))
    case .send:
      guard completion.result >= 0 else { return close(socket, completion) }
      engine.receive(socket, .once, token(.receive, socket))
      if stopping { engine.shutdown(socket, .receive) }
    }
  }

  /// The peer has ended (result 0), or an error ended the connection; nothing is in flight.
  mutating func close(_ socket: Descriptor, _ completion: Completion) {
    if completion.hasBytes { _ = engine.takeSlice(completion) }
    connections.remove(socket.rawValue)
    engine.close(socket)
  }
}

@MainActor func serve<E: Engine & ~Copyable>(_ engine: consuming E) throws {
  let waker = engine.waker
  var echo = try Echo(engine, arguments.address("listen", default: "127.0.0.1:7007"))
  stop.start(waking: waker)
  echo.run(stop)
}

let arguments = Arguments(usage: "tcp-echo [--listen HOST:PORT]", options: ["listen"])
let stop = StopSignals()
var options = EngineOptions()
do {
  switch arguments.engine(&options) {
  case .uring: try serve(Uring(options))
  default: try serve(Epoll(options))
  }
} catch {
  giveUp(error)
}
