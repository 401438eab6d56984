// WriteMode owns how a journal's files are written: past the page cache or not, durable by the write
// itself or by a sync behind it. What the kernel or the file system refuses is given up for the rest
// of the run and told once.

struct WriteMode {
  private let isDurable: Bool
  /// Segments are opened with O_DIRECT.
  private(set) var usesDirectIO: Bool
  private var usesDurableWrite = true

  init(durability: Durability, usesDirectIO: Bool) {
    isDurable = durability != .none
    self.usesDirectIO = usesDirectIO && isDurable
  }

  /// A batch is written with RWF_DSYNC.
  var writesDurably: Bool { isDurable && usesDurableWrite }
  /// A batch is written, and then the file is synced.
  var needsSync: Bool { isDurable && !usesDurableWrite }

  /// Flags for open(2) of a segment beside those that every segment has.
  var openFlags: Int32 { usesDirectIO ? Self.directFlag : 0 }

  /// O_DIRECT, which differs between architectures.
  static var directFlag: Int32 {
    #if arch(arm64)
      0o200000
    #else
      0o40000
    #endif
  }

  /// Buffered writes and a sync from now on.
  mutating func giveUpDirectIO(_ code: Int32, _ events: inout JournalEvents) {
    if usesDirectIO { events.add(.directIOUnavailable(code: code)) }
    usesDirectIO = false
    usesDurableWrite = false
  }

  mutating func giveUpDurableWrite(_ code: Int32, _ events: inout JournalEvents) {
    usesDurableWrite = false
    events.add(.durableWriteUnavailable(code: code))
  }
}
