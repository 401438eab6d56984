// LogReader reads a log's directory as one stream: the workers' chains merged by time, a streamed
// exchange as one line. It may read beside a proxy, follows rotation and new workers, and holds one
// batch per chain and the open exchanges. It proves nothing; that is Verification's work.

public import MillraceEngine
internal import Text

/// The records of a log in order of time.
public final class LogReader {
  /// Places at which something could not be read and was left out; see `takeNotices`.
  public var damages: Int { chains.reduce(0) { $0 + $1.damages } }

  private let directory: String
  private let files: any FileSystem
  private let joins: Bool
  private var chains: [ChainReader] = []
  /// Indices of chains that have a record, a heap by time and worker.
  private var heap: [Int] = []
  private var waiting: [Int] = []
  private var join = ExchangeJoin()
  private var runs: [Int: RunIdentity] = [:]
  private var ready: [LogLine] = []
  private var readyHead = 0
  private var notices: [String] = []
  /// The time of each chain's current record.
  private var times: [[UInt8]] = []

  /// - Parameters:
  ///   - directory: the log's directory.
  ///   - files: where it is.
  ///   - joins: false to give `begin`, `end` and `abort` out as they are.
  ///   - lines: nil to read from the beginning; otherwise from a place near the end, behind which
  ///     are at least the last so many lines, if the log has them.
  /// - Throws: a file call that failed.
  public init(
    directory: String, files: any FileSystem = MachineFiles(), joins: Bool = true,
    lines: Int? = nil
  ) throws(Errno) {
    self.directory = directory
    self.files = files
    self.joins = joins
    let tail = TailStart(directory: directory, files: files)
    try addChains(ChainWalk.list(directory, files)) { segments throws(Errno) in
      guard let lines else { return nil }
      return try tail.find(segments, lines: lines)
    }
  }

  /// Whether the directory has a log at all.
  public var hasLog: Bool { !chains.isEmpty }

  /// The next line; nil if there is none until `poll` finds more.
  public func next() throws(Errno) -> LogLine? {
    while readyHead == ready.count {
      ready.removeAll(keepingCapacity: true)
      readyHead = 0
      if heap.isEmpty { return nil }
      try step()
    }
    readyHead += 1
    return ready[readyHead - 1]
  }

  /// Looks for new records and new workers.
  public func poll() throws(Errno) {
    let segments = try ChainWalk.list(directory, files)
    try addChains(segments) { _ throws(Errno) in nil }
    var listed: [SegmentName]? = segments
    let asked = waiting.sorted()
    waiting = []
    for index in asked {
      if try advance(index, &listed) { push(index) } else { waiting.append(index) }
    }
  }

  /// The exchanges that have begun and not ended, oldest first: for the end of the log.
  public func takeUnfinished() -> [LogLine] {
    var lines: [LogLine] = []
    join.flush { lines.append($0) }
    return lines
  }

  /// What was left out since the last call.
  public func takeNotices() -> [String] {
    defer { notices = [] }
    return notices
  }

  /// Adds the chains of workers that are not known. - Parameter start: nil is the beginning.
  private func addChains(
    _ segments: [SegmentName],
    _ start: ([SegmentName]) throws(Errno) -> (segment: SegmentName, offset: Int)?
  ) throws(Errno) {
    var known = Set(chains.map(\.worker))
    for (index, segment) in segments.enumerated() where known.insert(segment.worker).inserted {
      let own = segments[index...].prefix { $0.worker == segment.worker }
      let place = try start(Array(own)) ?? (segment: segment, offset: 0)
      waiting.append(chains.count)
      times.append([])
      chains.append(
        ChainReader(
          directory: directory, files: files, segment: place.segment, offset: place.offset))
    }
  }

  private func advance(_ index: Int, _ listed: inout [SegmentName]?) throws(Errno) -> Bool {
    let chain = chains[index]
    var list = listed
    defer { listed = list }
    let (directory, files) = (directory, files)
    let found = try chain.next { () throws(Errno) in
      if let list { return list }
      let now = try ChainWalk.list(directory, files)
      list = now
      return now
    }
    notices += chain.takeNotices()
    if found {
      let start = chain.record.timeStart
      times[index] = chain.withLine {
        Array($0[start..<start + Timestamp.length])
      }
    }
    return found
  }

  /// Takes the earliest record.
  private func step() throws(Errno) {
    let index = pop()
    let chain = chains[index]
    let record = chain.record
    if let run = chain.run, runs[chain.worker] != run {
      runs[chain.worker] = run
      // What the run before left open stays open for ever.
      join.flush(worker: chain.worker) { ready.append($0) }
    }
    chain.withLine { line in
      if joins {
        join.take(worker: chain.worker, record, line) { ready.append($0) }
      } else {
        ready.append(LogLine(worker: chain.worker, json: Array(line)))
      }
    }
    var listed: [SegmentName]?
    if try advance(index, &listed) { push(index) } else { waiting.append(index) }
  }

  // MARK: The heap

  private func isBefore(_ left: Int, _ right: Int) -> Bool {
    if times[left] != times[right] { return times[left].lexicographicallyPrecedes(times[right]) }
    return chains[left].worker < chains[right].worker
  }

  private func push(_ index: Int) {
    heap.append(index)
    var at = heap.count - 1
    while at > 0, isBefore(heap[at], heap[(at - 1) / 2]) {
      heap.swapAt(at, (at - 1) / 2)
      at = (at - 1) / 2
    }
  }

  private func pop() -> Int {
    let first = heap[0]
    let last = heap.removeLast()
    if heap.isEmpty { return first }
    heap[0] = last
    var at = 0
    while true {
      var least = at
      for child in [2 * at + 1, 2 * at + 2] where child < heap.count {
        if isBefore(heap[child], heap[least]) { least = child }
      }
      if least == at { return first }
      heap.swapAt(at, least)
      at = least
    }
  }
}
