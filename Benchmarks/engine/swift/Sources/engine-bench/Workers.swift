// Operations that the kernel never does in the loop's own thread: 256 of them in flight, so that its
// pool of worker threads grows to wherever it is let.

import Glibc
import MillraceEngine

/// `workers WORK DIRECTORY SECONDS`: WORK is `statx` (of a path), `rename` (in one directory, whose
/// lock the workers wait for), or `sync` (write 4 KiB into the page cache, fsync). Each of the 256 has
/// a file of its own.
struct WorkerLoad<E: Engine & ~Copyable>: ~Copyable {
  enum Work: String { case statx, rename, sync }
  enum Step: UInt8 { case status = 1, rename, write, synchronize }

  var engine: E
  let work: Work
  let files: [Descriptor]
  /// The name of each file, and the one that it has after every other rename.
  let paths: [(String, String)]
  var isRenamed: [Bool]
  static var inFlight: Int { 256 }
  static var bytes: Int { 4096 }

  init(_ work: Work, _ directory: String) throws {
    var options = options()
    options.fileOperations = Self.inFlight
    var engine = try make(E.self, options)
    var files: [Descriptor] = []
    let paths = (0..<Self.inFlight).map {
      ("\(directory)/worker-\($0)", "\(directory)/renamed-\($0)")
    }
    for (path, _) in paths { files.append(try openFile(&engine, path, O_RDWR | O_CREAT)) }
    self.work = work
    self.paths = paths
    isRenamed = paths.map { _ in false }
    self.files = files
    self.engine = engine
  }

  private func token(_ step: Step, _ file: Int) -> Token {
    Token(kind: step.rawValue, generation: 0, slot: UInt32(file))
  }

  private mutating func status(_ file: Int) {
    engine.status(path: paths[file].0, token(.status, file))
  }

  private mutating func rename(_ file: Int) {
    let (first, second) = paths[file]
    let isBack = isRenamed[file]
    engine.rename(isBack ? second : first, to: isBack ? first : second, token(.rename, file))
    isRenamed[file] = !isBack
  }

  private mutating func write(_ file: Int, _ buffer: consuming FileBuffer) {
    engine.write(
      files[file], from: buffer, count: Self.bytes, offset: 0, durable: false, token(.write, file))
  }

  /// Starts the work on every file; each is taken up again when it has ended.
  mutating func begin() {
    for file in 0..<files.count {
      switch work {
      case .statx: status(file)
      case .rename: rename(file)
      case .sync: write(file, FileBuffer(capacity: Self.bytes))
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
      status(file)
      return 1
    case .rename:
      rename(file)
      return 1
    case .write:
      _ = engine.takeFileBuffer(completion)
      engine.synchronize(files[file], dataOnly: false, token(.synchronize, file))
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
  guard words.count == 3, let work = WorkerLoad<E>.Work(rawValue: words[0]),
    let seconds = Double(words[2])
  else { throw Usage() }
  var load = try WorkerLoad<E>(work, words[1])
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
