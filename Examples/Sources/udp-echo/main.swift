// A UDP echo server that takes and gives many datagrams per system call.
//
// What to see here:
// - One receive stays armed for the life of the socket; each completion is one datagram, or, with
//   `--coalesce`, several of one sender as one (UDP_GRO). `segmentSize` tells where they part.
// - The same number, given to `sendDatagram`, has the kernel cut the answer up again (UDP_SEGMENT):
//   64 datagrams in, one operation; 64 datagrams out, one operation.
// - Datagrams have no backpressure: what cannot be answered is dropped, and counted.

import Glibc
import MillraceEngine
import Support

enum Step: UInt8 { case receive, send }

struct Echo<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let socket: Descriptor
  var receiving = true
  var sends = 0
  var datagrams = 0
  var arrivals = 0
  var dropped = 0

  init(_ engine: consuming E, _ address: SocketAddress, coalesce: Bool) throws {
    self.engine = engine
    socket = try self.engine.bindDatagrams(address, reusePort: false, coalesce: coalesce)
    say("bound to \(self.engine.localAddress(socket)!) (\(self.engine.kind.rawValue))")
    self.engine.receiveDatagrams(socket, token(.receive))
  }

  func token(_ step: Step) -> Token { Token(kind: step.rawValue, generation: 0, slot: 0) }

  mutating func run(_ stop: StopSignals) {
    var stopping = false
    while receiving || sends > 0 {
      engine.wait(until: nil)
      while let completion = engine.next() {
        switch Step(rawValue: completion.token.kind)! {
        case .receive: received(completion, stopping)
        case .send:
          sends -= 1
          if completion.result < 0 { dropped += 1 }
        }
      }
      if stop.isRequested && !stopping {
        stopping = true
        engine.stopReceiving(socket)
      }
    }
    engine.close(socket)
    engine.wait(until: 0)
    say("\(datagrams) datagrams in \(arrivals) arrivals, \(dropped) answers dropped")
  }

  mutating func received(_ completion: Completion, _ stopping: Bool) {
    if completion.hasDatagram {
      answer(engine.takeDatagram(completion))
    } else if completion.result < 0 && completion.result != -ECANCELED {
      say("receive: \(String(cString: strerror(-completion.result)))")
    }
    guard completion.isTerminal else { return }
    // An error that concerned one datagram (ECONNREFUSED of an earlier answer) does not end the
    // server.
    receiving = !stopping && completion.result != -ECANCELED
    if receiving { engine.receiveDatagrams(socket, token(.receive)) }
  }

  mutating func answer(_ datagram: consuming Datagram) {
    let (sender, size, count) = (datagram.sender, datagram.segmentSize, datagram.content.count)
    arrivals += 1
    datagrams += size > 0 ? max(1, (count + size - 1) / size) : 1
    guard !datagram.isTruncated, var frame = engine.frame() else {
      dropped += 1
      return
    }
    frame.append(datagram.content.removePrefix(count))
    sends += 1
    engine.sendDatagram(
      socket, frame, to: sender, segmentSize: size < count ? size : 0, token(.send))
  }
}

@MainActor func serve<E: Engine & ~Copyable>(_ engine: consuming E) throws {
  let waker = engine.waker
  var echo = try Echo(
    engine, arguments.address("listen", default: "127.0.0.1:7007"),
    coalesce: arguments.has("coalesce"))
  stop.start(waking: waker)
  echo.run(stop)
}

let arguments = Arguments(
  usage: "udp-echo [--listen HOST:PORT] [--coalesce]", options: ["listen"], flags: ["coalesce"])
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
