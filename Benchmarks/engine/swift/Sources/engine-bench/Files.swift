// A file read from one end to the other, or in random order, with several reads in flight; and a file
// copied. The page cache is emptied of the file first, where `cold` is asked for, outside the clock.

import Glibc
import MillraceEngine

/// O_DIRECT, fcntl.h: Glibc's overlay does not have it.
#if arch(arm64)
  private let directFlag: Int32 = 0o200000
#else
  private let directFlag: Int32 = 0o40000
#endif

/// `files PATH ORDER MODE STATE [SECONDS]`: ORDER is `sequential` (64 KiB) or `random` (4 KiB, an
/// eighth of the file), MODE `plain`, `registered`, `direct` or `registered-direct`, STATE `cold` or
/// `warm`. With SECONDS the file is gone through again until they have passed.
struct FileReader<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let file: Descriptor
  let registered: Bool
  let bytes: Int
  let blocks: Int
  let reads: Int
  let isRandom: Bool
  var started = 0
  var ended = 0
  static var depth: Int { 32 }

  init(_ path: String, random: Bool, mode: String) throws {
    var options = options()
    bytes = random ? 4096 : 65_536
    registered = mode.hasPrefix("registered")
    options.registeredBuffers = registered ? Self.depth : 0
    options.registeredBufferSize = bytes
    var engine = try make(E.self, options)
    file = try openFile(&engine, path, O_RDONLY | (mode.hasSuffix("direct") ? directFlag : 0))
    self.engine = engine
    blocks = fileSize(path) / bytes
    reads = random ? blocks / 8 : blocks
    isRandom = random
  }

  /// A permutation of the blocks: an odd factor visits each place of a power of two once.
  private func place(_ read: Int) -> Int {
    isRandom ? read &* 40_503 % blocks : read
  }

  private mutating func submit(_ buffer: consuming FileBuffer) {
    engine.read(
      file, into: buffer, count: bytes, offset: Int64(place(started) * bytes),
      Token(rawValue: UInt64(started)))
    started += 1
  }

  mutating func run() {
    (started, ended) = (0, 0)
    for _ in 0..<min(Self.depth, reads) {
      if registered {
        submit(engine.registeredBuffer()!)
      } else {
        submit(FileBuffer(capacity: bytes))
      }
    }
    while ended < reads {
      engine.wait(until: nil)
      while let completion = engine.next() {
        precondition(completion.result == Int32(bytes), "a read failed: \(completion.result)")
        ended += 1
        let buffer = engine.takeFileBuffer(completion)
        if started < reads { submit(buffer) }
      }
    }
  }
}

func readFile<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count >= 4 else { throw Usage() }
  let seconds = words.count > 4 ? Double(words[4])! : 0
  if words[3] == "cold" { dropCache(words[0]) }
  var reader = try FileReader<E>(words[0], random: words[1] == "random", mode: words[2])
  let (cpu, wall) = (ownCPU(), wallClock())
  var passes = 0
  repeat {
    reader.run()
    passes += 1
  } while wallClock() - wall < Int64(seconds * 1e9)
  // Per KiB, so that both orders have the same unit.
  report(passes * reader.reads * reader.bytes / 1024, cpu: ownCPU() - cpu, wall: wallClock() - wall)
}

/// `copy FROM TO`: reads and writes of 256 KiB, eight in flight.
struct FileCopier<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let source: Descriptor
  let target: Descriptor
  let size: Int
  var offset = 0
  var inFlight = 0
  static var bytes: Int { 262_144 }

  init(_ from: String, _ to: String) throws {
    var engine = try make(E.self, options())
    let source = try openFile(&engine, from, O_RDONLY)
    let target = try openFile(&engine, to, O_WRONLY | O_CREAT | O_TRUNC)
    self.source = source
    self.target = target
    size = fileSize(from)
    self.engine = engine
  }

  private mutating func readNext(_ buffer: consuming FileBuffer) {
    guard offset < size else { return }
    engine.read(
      source, into: buffer, count: Self.bytes, offset: Int64(offset),
      Token(kind: 1, generation: 0, slot: UInt32(offset / Self.bytes)))
    offset += Self.bytes
    inFlight += 1
  }

  mutating func run() {
    for _ in 0..<8 { readNext(FileBuffer(capacity: Self.bytes)) }
    while inFlight > 0 {
      engine.wait(until: nil)
      while let completion = engine.next() { handle(completion) }
    }
  }

  private mutating func handle(_ completion: Completion) {
    precondition(completion.result > 0, "a copy failed: \(completion.result)")
    inFlight -= 1
    let buffer = engine.takeFileBuffer(completion)
    guard completion.token.kind == 1 else { return readNext(buffer) }
    engine.write(
      target, from: buffer, count: Int(completion.result),
      offset: Int64(completion.token.slot) * Int64(Self.bytes), durable: false,
      Token(kind: 2, generation: 0, slot: completion.token.slot))
    inFlight += 1
  }
}

func copyFile<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count == 2 else { throw Usage() }
  var copier = try FileCopier<E>(words[0], words[1])
  copier.run()
}

func openFile<E: Engine & ~Copyable>(
  _ engine: inout E, _ path: String, _ flags: Int32
) throws -> Descriptor {
  engine.open(path, flags: flags, mode: 0o600, Token(rawValue: 0))
  let result = waitForOne(&engine).result
  guard result >= 0 else { throw SystemFailure(code: -result, operation: path) }
  return Descriptor(rawValue: result)
}

/// The next completion, however long it takes.
func waitForOne<E: Engine & ~Copyable>(_ engine: inout E) -> Completion {
  while true {
    if let completion = engine.next() { return completion }
    engine.wait(until: nil)
  }
}

func fileSize(_ path: String) -> Int {
  var status = stat()
  precondition(stat(path, &status) == 0, "no such file: \(path)")
  return Int(status.st_size)
}

func dropCache(_ path: String) {
  let file = open(path, O_RDONLY)
  fsync(file)
  posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
  close(file)
}
