// Copies a file with several blocks in flight.
//
// What to see here:
// - statx first: the size decides how many blocks there are, the mode what the copy may be used for.
// - A buffer goes into an operation (it is consumed) and comes back with its completion: while it is in
//   the kernel's hands there is no name in this program with which to touch it.
// - Registered buffers, where the kernel grants them, spare it the mapping of their pages for each
//   operation. Where all are out, plain ones do.
// - A block is read, then written, then the next one is read into the same buffer: `--depth` of them
//   are under way at any time, and nothing else limits the memory.
// - After an error nothing new is started, and what is in flight drains before the files are closed.

import Glibc
import MillraceEngine
import Support

enum Step: UInt8 { case status, openSource, openTarget, read, write, synchronize, close }

/// What went wrong, with the name of the file that it went wrong with.
struct CopyFailure: Error, CustomStringConvertible {
  let description: String
  init(_ path: String, _ what: String, _ code: Int32 = 0) {
    description = "\(path): \(what)" + (code != 0 ? ": \(String(cString: strerror(code)))" : "")
  }
}

struct Copy<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let source: String
  let target: String
  let blockSize: Int

  /// One operation, start to end: for what there is only one of.
  mutating func one(_ step: Step, _ submit: (inout E, Token) -> Void) -> Completion {
    submit(&engine, Token(kind: step.rawValue, generation: 0, slot: 0))
    while true {
      if let completion = engine.next() { return completion }
      engine.wait(until: nil)
    }
  }

  mutating func run(depth: Int, durable: Bool) throws -> Int64 {
    let (source, target) = (source, target)
    let looked = one(.status) { $0.status(path: source, $1) }
    guard looked.result >= 0 else {
      throw CopyFailure(source, "cannot be looked at", -looked.result)
    }
    let status = engine.takeStatus(looked)
    guard UInt32(status.mode) & S_IFMT == S_IFREG else {
      throw CopyFailure(source, "is not a regular file; only those can be copied")
    }
    let input = one(.openSource) { $0.open(source, flags: O_RDONLY | O_CLOEXEC, mode: 0, $1) }
    guard input.result >= 0 else { throw CopyFailure(source, "cannot be read", -input.result) }
    let flags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC
    let mode = UInt32(status.mode) & 0o777
    let output = one(.openTarget) { $0.open(target, flags: flags, mode: mode, $1) }
    let from = Descriptor(rawValue: input.result)
    defer { _ = one(.close) { $0.closeFile(from, $1) } }
    guard output.result >= 0 else { throw CopyFailure(target, "cannot be written", -output.result) }
    let to = Descriptor(rawValue: output.result)
    defer { _ = one(.close) { $0.closeFile(to, $1) } }
    try move(from, to, status.size, depth)
    if durable {
      let synchronized = one(.synchronize) { $0.synchronize(to, dataOnly: false, $1) }
      guard synchronized.result == 0 else {
        throw CopyFailure(target, "may not survive a power cut", -synchronized.result)
      }
    }
    return status.size
  }

  /// Moves all blocks; a token's slot is the number of the block that it reads or writes.
  mutating func move(_ from: Descriptor, _ to: Descriptor, _ size: Int64, _ depth: Int) throws {
    let blocks = Int((size + Int64(blockSize) - 1) / Int64(blockSize))
    var started = 0
    var inFlight = 0
    var failure: CopyFailure?
    func length(_ block: Int) -> Int { Int(min(Int64(blockSize), size - offset(block))) }
    func offset(_ block: Int) -> Int64 { Int64(block) * Int64(blockSize) }
    func token(_ step: Step, _ block: Int) -> Token {
      Token(kind: step.rawValue, generation: 0, slot: UInt32(block))
    }
    while started < min(depth, blocks) {
      let buffer = engine.registeredBuffer() ?? FileBuffer(capacity: blockSize)
      engine.read(
        from, into: buffer, count: length(started), offset: offset(started), token(.read, started))
      started += 1
      inFlight += 1
    }
    while inFlight > 0 {
      engine.wait(until: nil)
      while let completion = engine.next() {
        let block = Int(completion.token.slot)
        let reading = completion.token.kind == Step.read.rawValue
        let buffer = engine.takeFileBuffer(completion)
        if Int(completion.result) != length(block) {
          let path = reading ? source : target
          failure =
            failure
            ?? (completion.result < 0
              ? CopyFailure(path, reading ? "read" : "write", -completion.result)
              : CopyFailure(
                path,
                reading ? "has shrunk while it was read" : "was not written whole; is it full?"))
        }
        if failure == nil && reading {
          engine.write(
            to, from: buffer, count: length(block), offset: offset(block), durable: false,
            token(.write, block))
        } else if failure == nil && started < blocks {
          engine.read(
            from, into: buffer, count: length(started), offset: offset(started),
            token(.read, started))
          started += 1
        } else {
          inFlight -= 1
        }
      }
    }
    if let failure { throw failure }
  }
}

@MainActor func copy<E: Engine & ~Copyable>(_ engine: consuming E) throws {
  var copy = Copy(
    engine: engine, source: arguments.words[0], target: arguments.words[1],
    blockSize: blockKiB << 10)
  let bytes = try copy.run(depth: depth, durable: arguments.has("durable"))
  say("\(bytes) bytes copied")
}

let arguments = Arguments(
  usage: "file-copy [--depth BLOCKS] [--block KIB] [--durable] SOURCE TARGET",
  options: ["depth", "block"], flags: ["durable"], words: 2)
let depth = arguments.number("depth", default: 16, in: 1...60)
let blockKiB = arguments.number("block", default: 128, in: 4...1024)
var options = EngineOptions()
options.registeredBuffers = depth
options.registeredBufferSize = blockKiB << 10
do {
  switch arguments.engine(&options) {
  case .uring: try copy(Uring(options))
  default: try copy(Epoll(options))
  }
} catch {
  giveUp(error)
}
