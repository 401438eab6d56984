// ExchangeJoin makes one line of the two records of a streamed exchange. It holds a `begin` until its
// `end` or `abort` comes, in bounded memory: past the bound the oldest one is given out as it is. It
// refuses to join over runs, because identifiers are unique within one.

internal import Text

/// One line for a reader of the log.
public struct LogLine: Equatable, Sendable {
  /// The worker whose chain it is from.
  public var worker: Int
  /// JSON without a newline: a record as it is in the log, or a `begin` and what ended it in one
  /// object with the members of both and with `begin_seq` and `begin_time`.
  public var json: [UInt8]
}

struct ExchangeJoin {
  private struct Key: Hashable {
    var worker: Int
    var id: UInt64
  }

  private struct Begin {
    var order: UInt64
    var record: RecordLine
    var line: [UInt8]
  }

  /// Keys of ended exchanges that may stand in the queue, besides as many as are open.
  private static let queueSlack = 1_024

  /// Exchanges that may be open, and bytes of their lines.
  private let entriesMaximum: Int
  private let bytesMaximum: Int
  private var begins: [Key: Begin] = [:]
  private var bytes = 0
  private var nextOrder: UInt64 = 0
  /// Keys by age; those whose exchange has ended are skipped.
  private var queue: [(order: UInt64, key: Key)] = []
  private var queueHead = 0

  init(entriesMaximum: Int = 65_536, bytesMaximum: Int = 64 << 20) {
    self.entriesMaximum = entriesMaximum
    self.bytesMaximum = bytesMaximum
  }

  var count: Int { begins.count }
  var queueCount: Int { queue.count }

  /// Takes a record. - Parameter emit: called with each line that is ready, in order.
  mutating func take(
    worker: Int, _ record: RecordLine, _ line: UnsafeRawBufferPointer, emit: (LogLine) -> Void
  ) {
    let key = Key(worker: worker, id: record.exchangeID)
    switch record.kind {
    case .begin:
      if let stale = remove(key) { emit(LogLine(worker: worker, json: stale.line)) }
      begins[key] = Begin(order: nextOrder, record: record, line: Array(line))
      bytes += line.count
      if queue.count >= 2 * begins.count + Self.queueSlack { compactQueue() }
      queue.append((nextOrder, key))
      nextOrder += 1
      while begins.count > entriesMaximum || bytes > bytesMaximum, let oldest = removeOldest() {
        emit(LogLine(worker: oldest.worker, json: oldest.line))
      }
    case .end, .abort:
      guard let begin = remove(key) else { fallthrough }
      emit(LogLine(worker: worker, json: Self.join(begin.record, begin.line, record, line)))
    case .exchange, .loss, .recovery:
      emit(LogLine(worker: worker, json: Array(line)))
    }
  }

  /// Gives out what is open: of one worker whose run is over, or of all.
  mutating func flush(worker: Int? = nil, emit: (LogLine) -> Void) {
    let keys = begins.filter { worker == nil || $0.key.worker == worker }
      .sorted { $0.value.order < $1.value.order }.map(\.key)
    for key in keys {
      if let begin = remove(key) { emit(LogLine(worker: key.worker, json: begin.line)) }
    }
  }

  private mutating func remove(_ key: Key) -> Begin? {
    guard let begin = begins.removeValue(forKey: key) else { return nil }
    bytes -= begin.line.count
    return begin
  }

  /// Forgets the keys of exchanges that have ended.
  private mutating func compactQueue() {
    queue = queue[queueHead...].filter { begins[$0.key]?.order == $0.order }
    queueHead = 0
  }

  private mutating func removeOldest() -> (worker: Int, line: [UInt8])? {
    while queueHead < queue.count {
      let (order, key) = queue[queueHead]
      queueHead += 1
      if begins[key]?.order == order, let begin = remove(key) { return (key.worker, begin.line) }
    }
    return nil
  }

  /// The opening members are the later record's; its kind is `exchange` for a whole response.
  private static func join(
    _ begin: RecordLine, _ beginLine: [UInt8], _ end: RecordLine, _ line: UnsafeRawBufferPointer
  ) -> [UInt8] {
    var joined: [UInt8] = []
    joined.reserveCapacity(beginLine.count + line.count + 80)
    let opening = UnsafeRawBufferPointer(rebasing: line[..<end.membersStart])
    if end.kind == .end {
      // `{"seq":N,"kind":"end"` differs in the kind alone.
      let prefix = "{\"seq\":\(end.sequence),\"kind\":\""
      joined += prefix.utf8
      joined += "exchange".utf8
      joined += opening.dropFirst(prefix.utf8.count + 3)
    } else {
      joined += opening
    }
    joined += ",\"begin_seq\":\(begin.sequence),\"begin_time\":\"".utf8
    joined += beginLine[begin.timeStart..<(begin.timeStart + Timestamp.length)]
    joined.append(0x22)
    joined += beginLine[begin.membersStart..<(beginLine.count - 1)]
    joined += line[end.membersStart...]
    return joined
  }
}
