// Recovery makes a directory of segments fit to be continued, before the workers run: it finds each
// chain's last seal, sets a torn tail aside, cuts the segment and records that it did. It refuses
// to destroy a byte: a tail is cut only when its copy is durable. Killed at any point and run
// again, it comes to the same end.
//
// Why one torn batch is the most there can be: a chain has one commit in flight, and a batch is
// written only when the one before it is durable. So what follows the last valid seal was never
// acknowledged, except after damage to the medium, and then the copy still has it. (With durability
// `none` nothing orders the writes, and a machine's crash may take more.)
//
// Order of the steps, each durable before the next: copy of the tail under a partial name, its
// rename to `.jsonl.torn`, the cut, a new segment under a temporary name with the recovery record,
// its rename. A `.torn` file beside the last sealed segment thus means that the record is missing.

internal import Glibc
public import MillraceEngine
internal import Text

/// What recovery found of one torn tail.
public struct TornTail: Equatable, Sendable {
  /// The segment that was cut, and the file beside it that holds the tail.
  public var segment: String
  public var tail: String
  /// The tail's bytes and their SHA-256.
  public var bytes: Int
  public var hash: SealHash
}

/// What recovery leaves to the journals.
public struct RecoveredLog: Equatable, Sendable {
  /// One per worker that has a chain, by worker.
  public internal(set) var chains: [ChainState] = []
  /// Tails for which a recovery record was written in this run.
  public internal(set) var tornTails: [TornTail] = []
  /// The numbers of the chains that are this run's, by worker; empty: each worker's own number.
  public internal(set) var numbers: [Int] = []
  /// The numbers of chains that other runs write, which were left alone.
  public internal(set) var living: [Int] = []

  /// A log that has nothing in it.
  public init() {}

  /// Where a chain stands, by its number; a new one where there was none.
  public func chain(worker: Int) -> ChainState {
    chains.first { $0.worker == worker } ?? ChainState(worker: worker)
  }

  /// The number of a worker's chain.
  public func number(worker: Int) -> Int { numbers.isEmpty ? worker : numbers[worker] }
}

/// The recovery of a log's directory at start.
public struct Recovery: Sendable {
  private let run: RunIdentity
  private let wallMicroseconds: Int64
  private let files: any FileSystem

  /// - Parameters:
  ///   - run: the run that is about to begin.
  ///   - wallMicroseconds: UTC since 1970, for recovery records.
  ///   - files: where the log is.
  public init(
    run: RunIdentity, wallMicroseconds: Int64, files: any FileSystem = MachineFiles()
  ) {
    self.run = run
    self.wallMicroseconds = wallMicroseconds
    self.files = files
  }

  /// Recovers every chain in the directory that no other run writes, also those of workers that this run will
  /// not have. Then takes chains for this run: the lowest numbers that no other run has.
  /// - Parameter workers: how many chains this run will have.
  /// - Throws: the file call that failed; the directory is then still recoverable.
  public func recover(
    _ lease: borrowing DirectoryLease, workers: Int = 1
  ) throws(Errno) -> RecoveredLog {
    // From here on the directory is the one that is held, whatever its path leads to.
    if let own = lease.files {
      return try Recovery(run: run, wallMicroseconds: wallMicroseconds, files: own)
        .recover(holding: lease, workers)
    }
    return try recover(holding: lease, workers)
  }

  /// A segment's name has three digits for the chain.
  private static let chainsMaximum = 1000

  private func recover(
    holding lease: borrowing DirectoryLease, _ workers: Int
  ) throws(Errno) -> RecoveredLog {
    // Locked before it is looked at: a run may end while it is.
    var own: Set<Int> = []
    var living: Set<Int> = []
    for entry in try files.list(lease.directory) {
      guard let number = SegmentName.parse(entry)?.name.worker, !own.contains(number),
        !living.contains(number)
      else { continue }
      if try lease.take(number: number) { own.insert(number) } else { living.insert(number) }
    }
    var log = try recover(lease.directory, chains: own)
    for number in 0..<Self.chainsMaximum where log.numbers.count < workers {
      if living.contains(number) { continue }
      if !own.contains(number), try !lease.take(number: number) {
        living.insert(number)
      } else {
        log.numbers.append(number)
      }
    }
    guard log.numbers.count == workers else {
      throw Errno(
        code: EBUSY, operation: "open", path: lease.directory,
        detail: "fewer than \(workers) of its \(Self.chainsMaximum) chains are free of other runs")
    }
    for number in own where !log.numbers.contains(number) { try lease.leave(number: number) }
    log.living = living.sorted()
    return log
  }

  private func recover(_ directory: String, chains: Set<Int>) throws(Errno) -> RecoveredLog {
    var segments: [SegmentName] = []
    var torn: [SegmentName] = []
    for entry in try files.list(directory) {
      guard let (name, companion) = SegmentName.parse(entry), chains.contains(name.worker)
      else { continue }
      switch companion {
      case .segment:
        try files.requireOwnFile(directory + "/" + entry)
        segments.append(name)
      case .torn:
        try files.requireOwnFile(directory + "/" + entry)
        torn.append(name)
      case .preparing, .recovering, .tornPartial:
        try files.unlink(directory + "/" + entry)
      }
    }
    segments.sort()
    var log = RecoveredLog()
    var start = 0
    while start < segments.count {
      let worker = segments[start].worker
      var end = start
      while end < segments.count && segments[end].worker == worker { end += 1 }
      try recoverChain(Array(segments[start..<end]), torn, directory, &log)
      start = end
    }
    try files.synchronizeDirectory(directory)
    return log
  }

  private func recoverChain(
    _ segments: [SegmentName], _ torn: [SegmentName], _ directory: String,
    _ log: inout RecoveredLog
  ) throws(Errno) {
    var state = ChainState(worker: segments[0].worker)
    // What was set aside, also by an earlier attempt that was killed before its record.
    var tails: [SegmentName] = []
    for name in segments.reversed() {
      let path = directory + "/" + name.text()
      var scanner = try BatchScanner(path: path, files)
      var visitor = NoVisitor()
      while case .batch = try scanner.next(&visitor) {}
      let tail = try settle(name, path, provenEnd: scanner.provenEnd, directory)
      let isTorn = tail || torn.contains(name)
      if isTorn { tails.insert(name, at: 0) }
      // A number is not used again once anything is known under it.
      if state.nextSegment == 1 && (isTorn || scanner.seal != nil) {
        state.nextSegment = name.number + 1
      }
      if let seal = scanner.seal {
        state.previousSeal = seal.hash
        state.nextSequence = seal.lastSequence + 1
        try removeUnused(segments, before: name, directory)
        break
      }
      // Prefilled and never used: nothing is lost with it.
      if !isTorn { try files.unlink(path) }
    }
    if !tails.isEmpty { try record(tails, directory, &state, &log) }
    log.chains.append(state)
  }

  /// Names that one run holds at once, at most: those in reserve, and those that are being closed.
  private static let recentNames = 72

  /// Removes what the last run had given up before it was used, and whose removal a crash undid. Only
  /// the latest names can be of that kind.
  private func removeUnused(
    _ segments: [SegmentName], before last: SegmentName, _ directory: String
  ) throws(Errno) {
    for name in segments.filter({ $0 < last }).suffix(Self.recentNames) {
      let path = directory + "/" + name.text()
      let file = try files.open(path, .read)
      var first: UInt8 = 0
      var failure: Errno?
      withUnsafeMutableBytes(of: &first) {
        do throws(Errno) { _ = try file.read(into: $0, at: 0) } catch { failure = error }
      }
      if let failure { throw failure }
      // A header begins what was used, except after a failed write of its first block.
      if first != 0 && first != 0x0A { continue }
      if try lastContent(file, from: 0, to: file.size()) == 0 { try files.unlink(path) }
    }
  }

  /// Copies what follows the last proven batch and cuts the segment there. True if there was a
  /// tail.
  private func settle(
    _ name: SegmentName, _ path: String, provenEnd: Int, _ directory: String
  ) throws(Errno) -> Bool {
    let file = try files.open(path, .modify)
    let size = try file.size()
    if size <= provenEnd {
      // What the last run had reserved beyond the end goes, as at an orderly stop.
      if try file.hasReservedSpace() { try file.truncate(to: size) }
      // An earlier attempt may have cut it and been killed before the cut was durable: another power
      // cut would bring the tail back, in front of the segment that says it was set aside.
      try file.synchronize()
      return false
    }
    let tailEnd = try lastContent(file, from: provenEnd, to: size)
    if tailEnd > provenEnd {
      let partial = directory + "/" + name.text(.tornPartial)
      let copy = try files.open(partial, .create)
      try Self.forEachChunk(file, from: provenEnd, to: tailEnd) {
        (bytes, offset) throws(Errno) in try copy.write(bytes, at: offset - provenEnd)
      }
      try copy.synchronize()
      try files.rename(partial, to: directory + "/" + name.text(.torn))
      try files.synchronizeDirectory(directory)
    }
    try file.truncate(to: provenEnd)
    try file.synchronize()
    return tailEnd > provenEnd
  }

  /// The end of the last byte that is no filler, or `from`: newlines, and zeros where the machine
  /// stopped while a step of newlines was being written.
  private func lastContent(
    _ file: borrowing BlockingFile, from: Int, to: Int
  ) throws(Errno) -> Int {
    var end = from
    try Self.forEachChunk(file, from: from, to: to) { (bytes, offset) throws(Errno) in
      if let index = bytes.lastIndex(where: { $0 != 0x0A && $0 != 0 }) { end = offset + index + 1 }
    }
    return end
  }

  private static func forEachChunk(
    _ file: borrowing BlockingFile, from: Int, to: Int,
    _ body: (UnsafeRawBufferPointer, Int) throws(Errno) -> Void
  ) throws(Errno) {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 16)
    defer { buffer.deallocate() }
    var offset = from
    while offset < to {
      let wanted = min(buffer.count, to - offset)
      let count = try file.read(
        into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted]), at: offset)
      if count == 0 { break }
      try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]), offset)
      offset += count
    }
  }

  /// Writes a segment that holds the recovery records alone; whole, or not there at all.
  private func record(
    _ tails: [SegmentName], _ directory: String, _ state: inout ChainState,
    _ log: inout RecoveredLog
  ) throws(Errno) {
    let name = SegmentName(worker: state.worker, number: state.nextSegment)
    let capacity = SegmentName.roundUp(
      SegmentHeader.maximum + Seal.maximum + tails.count * 512)
    let memory = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    defer { memory.deallocate() }
    memset(memory, 0x0A, capacity)
    var cursor = ByteCursor(base: memory, capacity: capacity)
    SegmentHeader(
      run: run, worker: state.worker, segment: name.number,
      createdMicroseconds: wallMicroseconds, nextSequence: state.nextSequence,
      previous: state.previousSeal
    ).write(into: &cursor)
    let first = state.nextSequence
    for tail in tails {
      let described = try describe(tail, directory)
      RecordWriter.writeRecovery(
        sequence: state.nextSequence, wallMicroseconds: wallMicroseconds,
        file: described.tail, bytes: described.bytes, hash: described.hash,
        reason: "bytes after the last seal", into: &cursor)
      state.nextSequence += 1
      log.tornTails.append(described)
    }
    var digest = SealDigest()
    digest.begin(after: state.previousSeal)
    digest.update(UnsafeRawBufferPointer(start: memory, count: cursor.position))
    let seal = Seal(
      firstSequence: first, lastSequence: state.nextSequence - 1,
      bytes: UInt64(cursor.position), previous: state.previousSeal, hash: digest.finish())
    seal.write(into: &cursor)
    // TRAP: the bound was computed from the number of tails, each with a name and a reason of our
    // own.
    precondition(!cursor.overflowed, "recovery records exceed their bound")

    let temporary = directory + "/" + name.text(.recovering)
    let file = try files.open(temporary, .create)
    let length = SegmentName.roundUp(cursor.position)
    try file.write(UnsafeRawBufferPointer(start: memory, count: length), at: 0)
    try file.synchronize()
    try files.rename(temporary, to: directory + "/" + name.text())
    try files.synchronizeDirectory(directory)
    state.previousSeal = seal.hash
    state.nextSegment += 1
  }

  private func describe(_ name: SegmentName, _ directory: String) throws(Errno) -> TornTail {
    let path = directory + "/" + name.text(.torn)
    let file = try files.open(path, .read)
    let size = try file.size()
    var digest = SealDigest()
    digest.begin()
    try Self.forEachChunk(file, from: 0, to: size) { (bytes, _) throws(Errno) in
      digest.update(bytes)
    }
    return TornTail(
      segment: name.text(), tail: name.text(.torn), bytes: size, hash: digest.finish())
  }
}
