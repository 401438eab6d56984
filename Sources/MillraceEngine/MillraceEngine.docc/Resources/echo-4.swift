import Glibc
import MillraceEngine
import Synchronization

enum Step: UInt8 { case accept, receive, send }

func token(_ step: Step, _ descriptor: Descriptor) -> Token {
  Token(kind: step.rawValue, generation: 0, slot: UInt32(descriptor.rawValue))
}

func serve<E: Engine & ~Copyable>(
  _ engine: inout E, _ listener: Descriptor, until isStopping: () -> Bool
) {
  var accepting = true
  var stopping = false
  var connections: Set<Int32> = []
  engine.accept(listener, token(.accept, listener))
  while accepting || !connections.isEmpty {
    engine.wait(until: nil)
    while let completion = engine.next() {
      let socket = Descriptor(rawValue: Int32(completion.token.slot))
      switch Step(rawValue: completion.token.kind)! {
      case .accept:
        accepting = !completion.isTerminal
        guard completion.result >= 0 else { continue }
        connections.insert(completion.result)
        receive(Descriptor(rawValue: completion.result))
      case .receive:
        guard completion.hasBytes else {
          close(socket)
          continue
        }
        let slice = engine.takeSlice(completion)
        guard var frame = engine.frame() else {
          close(socket)
          continue
        }
        frame.append(slice)
        engine.send(socket, frame, .awaited, token(.send, socket))
      case .send:
        if completion.result >= 0 { receive(socket) } else { close(socket) }
      }
    }
    if isStopping() && !stopping {
      stopping = true
      engine.stopAccepting(listener)
      for socket in connections { engine.shutdown(Descriptor(rawValue: socket), .receive) }
    }
  }
  while let late = engine.acceptNow(listener) { engine.close(late) }
  engine.close(listener)
  // Submits the closes.
  engine.wait(until: 0)

  func receive(_ socket: Descriptor) {
    engine.receive(socket, .once, token(.receive, socket))
    if stopping { engine.shutdown(socket, .receive) }
  }

  func close(_ socket: Descriptor) {
    connections.remove(socket.rawValue)
    engine.close(socket)
  }
}

let signals = SignalWaiter(blocking: [SIGINT, SIGTERM])
var engine = try Epoll(EngineOptions())
let port = CommandLine.arguments.dropFirst().first.flatMap { UInt16($0) } ?? 7007
let address = try SocketAddress.resolve(host: "127.0.0.1", port: port)[0]
let listener = try engine.listen(address, backlog: 511, reusePort: false)

let stopping = Atomic<Bool>(false)
let waker = engine.waker
_ = try WorkerThread.start(name: "signals", cpu: nil) {
  while signals.wait(nanoseconds: 1_000_000_000) == nil {}
  stopping.store(true, ordering: .releasing)
  waker.wake()
}
serve(&engine, listener) { stopping.load(ordering: .acquiring) }
