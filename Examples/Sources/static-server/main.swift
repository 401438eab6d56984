// A small file server: sockets and files in one loop, on one thread.
//
// What to see here:
// - Reading a file and sending it are two operations of one kind. On io_uring both are entries of the
//   same ring; on epoll the engine has a few threads for files, and the loop cannot tell.
// - A connection is a small state machine; its completions find it by the slot in their token. It has
//   one operation in flight, so its slot is free again as soon as that has ended and it is closed.
// - One block per connection is in memory, and the next one is read when it has left: a slow reader
//   costs 64 KiB, whatever the size of the file.
//
// One request per connection (HTTP/1.1 with `Connection: close`), GET and HEAD, no directories. Names
// with a segment of "." or ".." are refused; symbolic links are followed.

import Glibc
import MillraceEngine
import Support

enum Step: UInt8 { case accept, receive, open, status, read, send, closeFile }

struct Connection {
  var socket = Descriptor.none
  var file = Descriptor.none
  var head: [UInt8] = []
  var isHead = false
  var offset: Int64 = 0
  var size: Int64 = 0
  var mayGoOn: Bool { offset < size && !isHead }
}

struct Server<E: Engine & ~Copyable>: ~Copyable {
  static var blockBytes: Int { 65_536 }
  static var headLimit: Int { 8192 }
  var engine: E
  let root: String
  let listener: Descriptor
  var accepting = true
  var stopping = false
  var open = 0
  var connections: [Connection]
  var free: [Int]

  init(_ engine: consuming E, _ address: SocketAddress, root: String, limit: Int) throws {
    self.engine = engine
    self.root = root
    connections = Array(repeating: Connection(), count: limit)
    free = Array((0..<limit).reversed())
    listener = try self.engine.listen(address, backlog: 511, reusePort: false)
    say("serving \(root) on \(self.engine.localAddress(listener)!) (\(self.engine.kind.rawValue))")
    self.engine.accept(listener, token(.accept, 0))
  }

  func token(_ step: Step, _ slot: Int) -> Token {
    Token(kind: step.rawValue, generation: 0, slot: UInt32(slot))
  }

  mutating func run(_ stop: StopSignals) {
    while accepting || open > 0 {
      engine.wait(until: nil)
      while let completion = engine.next() { handle(completion) }
      if stop.isRequested && !stopping {
        stopping = true
        engine.stopAccepting(listener)
        // Who has not asked yet is not waited for; answers that have begun are finished.
        for connection in connections where connection.socket.isValid && !connection.file.isValid {
          engine.shutdown(connection.socket, .receive)
        }
      }
    }
    while let late = engine.acceptNow(listener) { engine.close(late) }
    engine.close(listener)
    engine.wait(until: 0)
  }

  mutating func handle(_ completion: Completion) {
    let slot = Int(completion.token.slot)
    let result = completion.result
    switch Step(rawValue: completion.token.kind)! {
    case .accept:
      accepting = !completion.isTerminal
      if result >= 0 { admit(Descriptor(rawValue: result)) }
    case .receive:
      guard completion.hasBytes else { return close(slot) }
      connections[slot].head += engine.takeSlice(completion).bytes
      request(slot)
    case .open:
      guard result >= 0 else { return answer(slot, result == -EACCES ? 403 : 404) }
      connections[slot].file = Descriptor(rawValue: result)
      engine.status(connections[slot].file, token(.status, slot))
    case .status:
      guard result >= 0 else { return answer(slot, 500) }
      let status = engine.takeStatus(completion)
      guard UInt32(status.mode) & S_IFMT == S_IFREG else { return answer(slot, 404) }
      connections[slot].size = status.size
      answer(slot, 200)
    case .read:
      let buffer = engine.takeFileBuffer(completion)
      // Shorter than announced, or unreadable: only a cut connection says so.
      guard result > 0, var frame = engine.frame() else { return close(slot) }
      frame.append(UnsafeRawBufferPointer(start: buffer.base, count: Int(result)))
      connections[slot].offset += Int64(result)
      engine.send(connections[slot].socket, frame, .awaited, token(.send, slot))
    case .send:
      if result >= 0 && connections[slot].mayGoOn { readOn(slot) } else { close(slot) }
    case .closeFile: finish(slot)
    }
  }

  mutating func admit(_ socket: Descriptor) {
    guard let slot = free.popLast() else { return engine.close(socket) }
    connections[slot] = Connection(socket: socket)
    open += 1
    engine.receive(socket, .once, token(.receive, slot))
    if stopping { engine.shutdown(socket, .receive) }
  }

  /// Looks whether the request's head is whole, and what it asks for.
  mutating func request(_ slot: Int) {
    let head = connections[slot].head
    let end = head.firstEnd()
    guard end ?? head.count <= Self.headLimit else { return answer(slot, 431) }
    guard let end else {
      return engine.receive(connections[slot].socket, .once, token(.receive, slot))
    }
    let words = head[..<end].prefix { $0 != 13 }.split(separator: 32)
    guard words.count == 3, words[2].starts(with: "HTTP/1.".utf8) else { return answer(slot, 400) }
    connections[slot].isHead = words[0].elementsEqual("HEAD".utf8)
    guard connections[slot].isHead || words[0].elementsEqual("GET".utf8) else {
      return answer(slot, 405)
    }
    let name = words[1].prefix { $0 != UInt8(ascii: "?") }
    let segments = name.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    let isPlain = segments.allSatisfy {
      !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
    }
    guard name.first == UInt8(ascii: "/"), isPlain, !name.contains(0), !name.contains(37) else {
      return answer(slot, 400)
    }
    // Not a device or a FIFO that would wait for ever: O_NONBLOCK, and `status` tells them apart.
    engine.open(
      root + String(decoding: name, as: UTF8.self), flags: O_RDONLY | O_CLOEXEC | O_NONBLOCK,
      mode: 0, token(.open, slot))
  }

  /// Sends the head of the answer; content follows when it has left.
  mutating func answer(_ slot: Int, _ status: Int) {
    let reasons = [
      200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
      405: "Method Not Allowed", 431: "Request Header Fields Too Large",
    ]
    guard var frame = engine.frame() else { return close(slot) }
    if status != 200 { connections[slot].size = 0 }
    let head =
      "HTTP/1.1 \(status) \(reasons[status] ?? "Internal Server Error")\r\n"
      + "Content-Length: \(connections[slot].size)\r\nConnection: close\r\n\r\n"
    Array(head.utf8).withUnsafeBytes { frame.append($0) }
    engine.send(connections[slot].socket, frame, .awaited, token(.send, slot))
  }

  mutating func readOn(_ slot: Int) {
    let left = connections[slot].size - connections[slot].offset
    let count = Int(min(left, Int64(Self.blockBytes)))
    engine.read(
      connections[slot].file, into: FileBuffer(capacity: Self.blockBytes), count: count,
      offset: connections[slot].offset, token(.read, slot))
  }

  /// Nothing is in flight: the file first, as an operation, then the socket.
  mutating func close(_ slot: Int) {
    guard connections[slot].file.isValid else { return finish(slot) }
    engine.closeFile(connections[slot].file, token(.closeFile, slot))
    connections[slot].file = .none
  }

  mutating func finish(_ slot: Int) {
    engine.close(connections[slot].socket)
    connections[slot] = Connection()
    free.append(slot)
    open -= 1
  }
}

extension [UInt8] {
  /// Where the empty line that ends a head begins.
  func firstEnd() -> Int? {
    guard count >= 4 else { return nil }
    return (0...count - 4).first { self[$0..<$0 + 4].elementsEqual("\r\n\r\n".utf8) }
  }
}

@MainActor func serve<E: Engine & ~Copyable>(_ engine: consuming E) throws {
  let waker = engine.waker
  var server = try Server(
    engine, arguments.address("listen", default: "127.0.0.1:7080"),
    root: arguments.text("root", default: "."), limit: limit)
  stop.start(waking: waker)
  server.run(stop)
}

let arguments = Arguments(
  usage: "static-server [--root FOLDER] [--listen HOST:PORT] [--connections NUMBER]",
  options: ["root", "listen", "connections"])
let limit = arguments.number("connections", default: 512, in: 1...10_000)
let stop = StopSignals()
var options = EngineOptions()
// Each connection has one operation of files in flight at most.
options.fileOperations = limit
do {
  switch arguments.engine(&options) {
  case .uring: try serve(Uring(options))
  default: try serve(Epoll(options))
  }
} catch {
  giveUp(error)
}
