// Answers every eight bytes with as many bytes as they say, from memory: a send of one size, copied
// into the kernel or not.

import Glibc
import MillraceEngine

/// `source BYTES WAY`: WAY is `copy` (send) or `zero-copy` (sendZeroCopy).
struct SourceServer<E: Engine & ~Copyable>: ~Copyable {
  enum Step: UInt8 { case accept = 1, request, send }

  var engine: E
  let zeroCopy: Bool
  var hasSaid = false
  /// What every frame has a slice of.
  let content: BufferSlice

  init(_ bytes: Int, zeroCopy: Bool) throws {
    var options = options()
    options.zeroCopyThreshold = 1
    var engine = try make(E.self, options)
    let listener = try engine.listen(loopback(), backlog: 64, reusePort: false)
    engine.accept(listener, Token(kind: Step.accept.rawValue, generation: 0, slot: 0))
    announce(engine.localAddress(listener))
    content = engine.coldMemory(bytes)
    self.engine = engine
    self.zeroCopy = zeroCopy
  }

  mutating func serve() {
    while true {
      engine.wait(until: nil)
      while let completion = engine.next() { handle(completion) }
    }
  }

  private mutating func handle(_ completion: Completion) {
    let number = completion.token.slot
    let socket = Descriptor(rawValue: Int32(number))
    switch Step(rawValue: completion.token.kind) {
    case .accept:
      let made = completion.result
      engine.receive(
        Descriptor(rawValue: made), .stream,
        Token(kind: Step.request.rawValue, generation: 0, slot: UInt32(made)))
    case .request:
      guard completion.hasBytes else { return }
      _ = engine.takeSlice(completion)
      var frame = engine.frame()!
      frame.append(content.subslice(start: 0, count: content.count))
      let token = Token(kind: Step.send.rawValue, generation: 0, slot: number)
      if zeroCopy {
        engine.sendZeroCopy(socket, frame, token)
      } else {
        engine.send(socket, frame, .quiet, token)
      }
    case .send:
      precondition(completion.result >= 0, "a send failed: \(completion.result)")
      if zeroCopy && completion.isTerminal && !hasSaid { say(completion.result) }
    case nil: fatalError("a token that nobody made")
    }
  }
}

extension SourceServer where E: ~Copyable {
  /// Of the first send: whether the kernel has copied after all.
  private mutating func say(_ result: Int32) {
    hasSaid = true
    let line: StaticString = result == 0 ? "copied no\n" : "copied yes\n"
    _ = write(STDERR_FILENO, line.utf8Start, line.utf8CodeUnitCount)
  }
}

func serveSource<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count == 2, let bytes = Int(words[0]) else { throw Usage() }
  var server = try SourceServer<E>(bytes, zeroCopy: words[1] == "zero-copy")
  server.serve()
}
