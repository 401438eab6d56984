// Operations that follow one another, as a chain and one at a time: where a chain saves a turn, and
// what it costs where it does not.

import Glibc
import MillraceEngine

/// `steps WORK WAY DIRECTORY SECONDS`: WORK is `sync` (write 4 KiB, fdatasync) or `open` (open into a
/// slot, statx by path, read 4 KiB, close), WAY `linked` or `separate`.
struct Steps<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let path: String
  let file: Descriptor
  let linked: Bool
  /// The one buffer; nil while an operation has it.
  var buffer: FileBuffer?
  static var bytes: Int { 4096 }

  init(_ directory: String, linked: Bool) throws {
    var engine = try make(E.self, options())
    let path = directory + "/steps"
    let file = try openFile(&engine, path, O_RDWR | O_CREAT)
    self.engine = engine
    self.path = path
    self.file = file
    self.linked = linked
    let buffer = FileBuffer(capacity: Self.bytes)
    memset(buffer.base, 1, Self.bytes)
    self.buffer = consume buffer
  }

  /// The results of `count` completions must be `least` or more.
  private mutating func wait(_ count: Int) {
    for _ in 0..<count {
      let completion = waitForOne(&engine)
      precondition(completion.result >= 0, "a step failed: \(completion.result)")
      if completion.hasFileBuffer { buffer = engine.takeFileBuffer(completion) }
      if completion.hasStatus { _ = engine.takeStatus(completion) }
    }
  }

  mutating func writeAndSynchronize() {
    if linked { engine.beginChain() }
    engine.write(
      file, from: buffer.take()!, count: Self.bytes, offset: 0, durable: false, Token(rawValue: 1))
    if !linked { wait(1) }
    engine.synchronize(file, dataOnly: true, Token(rawValue: 2))
    if linked { engine.endChain() }
    wait(linked ? 2 : 1)
  }

  mutating func openAndRead() {
    let slot = engine.takeSlot()!
    if linked { engine.beginChain() }
    engine.open(path, flags: O_RDONLY, mode: 0, into: slot, Token(rawValue: 1))
    if !linked { wait(1) }
    engine.status(path: path, Token(rawValue: 2))
    if !linked { wait(1) }
    engine.read(slot, into: buffer.take()!, count: Self.bytes, offset: 0, Token(rawValue: 3))
    if !linked { wait(1) }
    engine.close(slot, Token(rawValue: 4))
    if linked { engine.endChain() }
    wait(linked ? 4 : 1)
  }
}

func measureSteps<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count == 4, let seconds = Double(words[3]) else { throw Usage() }
  var steps = try Steps<E>(words[2], linked: words[1] == "linked")
  steps.writeAndSynchronize()
  let (cpu, wall) = (ownCPU(), wallClock())
  var operations = 0
  while wallClock() - wall < Int64(seconds * 1e9) {
    if words[0] == "sync" { steps.writeAndSynchronize() } else { steps.openAndRead() }
    operations += 1
  }
  report(operations, cpu: ownCPU() - cpu, wall: wallClock() - wall)
}
