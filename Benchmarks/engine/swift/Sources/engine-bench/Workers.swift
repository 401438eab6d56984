// Operations that the kernel never does in the loop's own thread: 256 of them in flight, so that its
// pool of worker threads grows to wherever it is let.

import Glibc
import MillraceEngine

/// `workers WORK DIRECTORY SECONDS`: WORK is `statx` (of a path), or `sync` (write 4 KiB into the page
/// cache, fsync; as many files as are in flight).
struct WorkerLoad<E: Engine & ~Copyable>: ~Copyable {
  enum Step: UInt8 { case status = 1, write, synchronize }

  var engine: E
  let path: String
  let files: [Descriptor]
  static var inFlight: Int { 256 }
  static var bytes: Int { 4096 }

  init(_ directory: String, files count: Int) throws {
    var options = options()
    options.fileOperations = Self.inFlight
    var engine = try make(E.self, options)
    let path = directory + "/workers"
    var files: [Descriptor] = []
    for i in 0..<count {
      files.append(try openFile(&engine, "\(path)-\(i)", O_RDWR | O_CREAT))
    }
    self.path = path
    self.files = files
    self.engine = engine
  }

  private mutating func status() {
    engine.status(path: path + "-0", Token(kind: Step.status.rawValue, generation: 0, slot: 0))
  }

  private mutating func write(_ file: Int, _ buffer: consuming FileBuffer) {
    engine.write(
      files[file], from: buffer, count: Self.bytes, offset: 0, durable: false,
      Token(kind: Step.write.rawValue, generation: 0, slot: UInt32(file)))
  }

  /// The work on one file, or one question, again and again.
  mutating func begin() {
    if files.count == 1 {
      for _ in 0..<Self.inFlight { status() }
    } else {
      for file in 0..<files.count {
        let buffer = FileBuffer(capacity: Self.bytes)
        memset(buffer.base, 1, Self.bytes)
        write(file, buffer)
      }
    }
  }

  /// - Returns: units of work that ended in this turn.
  mutating func turn() -> Int {
    var ended = 0
    engine.wait(until: nil)
    while let completion = engine.next() { ended += handle(completion) }
    return ended
  }

  private mutating func handle(_ completion: Completion) -> Int {
    precondition(completion.result >= 0, "work failed: \(completion.result)")
    let file = Int(completion.token.slot)
    switch Step(rawValue: completion.token.kind) {
    case .status:
      _ = engine.takeStatus(completion)
      status()
      return 1
    case .write:
      _ = engine.takeFileBuffer(completion)
      engine.synchronize(
        files[file], dataOnly: false,
        Token(kind: Step.synchronize.rawValue, generation: 0, slot: UInt32(file)))
      return 0
    case .synchronize:
      write(file, FileBuffer(capacity: Self.bytes))
      return 1
    case nil: fatalError("a token that nobody made")
    }
  }
}

/// Threads of this process, those of the kernel that work for it among them.
private func threads() -> Int {
  guard let folder = opendir("/proc/self/task") else { return 0 }
  defer { closedir(folder) }
  var count = -2
  while readdir(folder) != nil { count += 1 }
  return count
}

func measureWorkers<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count == 3, let seconds = Double(words[2]) else { throw Usage() }
  var load = try WorkerLoad<E>(words[1], files: words[0] == "sync" ? WorkerLoad<E>.inFlight : 1)
  load.begin()
  // The pool has grown before the clock starts.
  let begins = wallClock() + 100_000_000
  while wallClock() < begins { _ = load.turn() }
  let (cpu, wall, count) = (ownCPU(), wallClock(), threads())
  var operations = 0
  while wallClock() - wall < Int64(seconds * 1e9) { operations += load.turn() }
  report(operations, cpu: ownCPU() - cpu, wall: wallClock() - wall, " threads \(count)")
  // Nothing is drained: the process ends.
  fflush(nil)
  _exit(0)
}
