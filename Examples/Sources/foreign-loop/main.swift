// The engine beside another event loop: SwiftNIO's, on one thread with it.
//
// The engine echoes on one port; NIO tells on another how much was echoed. Both run on the thread of NIO's
// event loop, so they share `Echo` without a lock.
//
// What to see here:
// - `pollDescriptor` is readable while the engine has something to do. Whoever watches it gives the
//   engine its turn: `wait(until: 0)`, which does not wait, until `next` has nothing more.
// - NIO watches only descriptors that it reads and writes itself (its channels own theirs), and its own
//   selector is private: an engine's descriptor can be neither. So a Dispatch source watches it, and
//   hops to the event loop. The source is level-triggered: it is suspended until the turn is over.
//   With a loop that can watch any descriptor (poll(2), GLib, libuv) there is no hop.
// - What NIO's side submits is taken by a turn too: `submit` ends with `turn`.

import Dispatch
import Glibc
import MillraceEngine
import NIOCore
import NIOPosix
import Support

enum Step: UInt8 { case accept, receive, send }

/// The engine's part: the echo server of tcp-echo, turned from outside.
final class Echo<E: Engine & SendableMetatype & ~Copyable>: @unchecked Sendable {
  // Sendable: used on the event loop only, but for `pollDescriptor`, which does not change.
  private var engine: E
  private let listener: Descriptor
  private var accepting = true
  private var connections: Set<Int32> = []
  private(set) var bytes = 0
  let pollDescriptor: Int32
  let ended: EventLoopPromise<Void>

  init(_ engine: consuming E, _ address: MillraceEngine.SocketAddress, _ loop: any EventLoop) throws
  {
    self.engine = engine
    pollDescriptor = self.engine.pollDescriptor
    ended = loop.makePromise()
    listener = try self.engine.listen(address, backlog: 511, reusePort: false)
    say("listening on \(self.engine.localAddress(listener)!) (\(self.engine.kind.rawValue))")
    self.engine.accept(listener, Token(kind: Step.accept.rawValue, generation: 0, slot: 0))
  }

  /// One turn: everything that there is to do, and no waiting.
  func turn() {
    var more = true
    while more {
      more = false
      engine.wait(until: 0)
      while let completion = engine.next() {
        more = true
        handle(completion)
      }
    }
    if !accepting && connections.isEmpty { ended.succeed() }
  }

  func stop() {
    engine.stopAccepting(listener)
    for socket in connections { engine.shutdown(Descriptor(rawValue: socket), .both) }
    turn()
  }

  func close() {
    engine.close(listener)
    engine.wait(until: 0)
  }

  private func handle(_ completion: Completion) {
    let socket = Descriptor(rawValue: Int32(completion.token.slot))
    switch Step(rawValue: completion.token.kind)! {
    case .accept:
      accepting = !completion.isTerminal
      guard completion.result >= 0 else { return }
      connections.insert(completion.result)
      receive(Descriptor(rawValue: completion.result))
    case .receive:
      guard completion.hasBytes, var frame = engine.frame() else {
        if completion.hasBytes { _ = engine.takeSlice(completion) }
        return end(socket)
      }
      frame.append(engine.takeSlice(completion))
      engine.send(
        socket, frame, .awaited,
        Token(kind: Step.send.rawValue, generation: 0, slot: UInt32(socket.rawValue)))
    case .send:
      guard completion.result >= 0 else { return end(socket) }
      bytes += Int(completion.result)
      receive(socket)
    }
  }

  private func receive(_ socket: Descriptor) {
    engine.receive(
      socket, .once,
      Token(kind: Step.receive.rawValue, generation: 0, slot: UInt32(socket.rawValue)))
  }

  private func end(_ socket: Descriptor) {
    connections.remove(socket.rawValue)
    engine.close(socket)
  }
}

@MainActor func serve<E: Engine & SendableMetatype & ~Copyable>(
  _ make: @escaping @Sendable () throws -> Echo<E>
) throws {
  // An engine belongs to the thread that made it: here, the event loop's.
  let echo = try loop.submit(make).wait()

  let source = DispatchSource.makeReadSource(
    fileDescriptor: echo.pollDescriptor, queue: DispatchQueue(label: "engine"))
  nonisolated(unsafe) let watch = source
  // @Sendable: it runs on the queue, not on the main actor as the rest of this function.
  source.setEventHandler { @Sendable in
    watch.suspend()
    loop.execute {
      echo.turn()
      watch.resume()
    }
  }
  loop.execute {
    // What was submitted while the engine was made.
    echo.turn()
    watch.resume()
  }

  // NIO's part: a server that says how much was echoed, and closes.
  let teller = try ServerBootstrap(group: loop)
    .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
    .childChannelInitializer { channel in
      let text = ByteBuffer(string: "\(echo.bytes) bytes echoed\n")
      return channel.eventLoop.makeSucceededVoidFuture().map {
        channel.writeAndFlush(text).whenComplete { _ in channel.close(promise: nil) }
      }
    }
    .bind(host: "127.0.0.1", port: arguments.number("tell", default: 7008, in: 0...65_535)).wait()
  say("telling on \(teller.localAddress!)")

  stop.start { loop.execute { echo.stop() } }
  try echo.ended.futureResult.wait()
  watch.cancel()
  try teller.close().wait()
  try loop.submit { echo.close() }.wait()
  try group.syncShutdownGracefully()
}

let arguments = Arguments(
  usage: "foreign-loop [--listen HOST:PORT] [--tell PORT]", options: ["listen", "tell"])
let address = arguments.address("listen", default: "127.0.0.1:7007")
let stop = StopSignals()
var chosen = EngineOptions()
let kind = arguments.engine(&chosen)
let options = chosen
let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
let loop = group.next()
do {
  switch kind {
  case .uring: try serve { try Echo(Uring(options), address, loop) }
  default: try serve { try Echo(Epoll(options), address, loop) }
  }
} catch {
  giveUp(error)
}
