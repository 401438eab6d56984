// ChainReader reads the records of one worker's chain in order, batch by batch, also of a chain that
// is being written. It gives a batch out once its seal is there, so that what was not committed is
// never shown; it checks a seal's counts and no hash, which is Verification's work. It holds one
// batch and one buffer, and walks into the unused part of a segment no further than its first block.

internal import Glibc
internal import MillraceEngine

final class ChainReader {
  /// Bytes of lines without a seal after which they count as damage: more than any batch has.
  private static let stagedMaximum = LineReader.lineMaximum
  private static let bufferSize = 64 << 10
  private static let noticesMaximum = 10

  let worker: Int
  /// The run that wrote the current batch; nil if the segment's header was not read.
  private(set) var run: RunIdentity?
  /// What was left out, in words.
  private(set) var notices: [String] = []
  /// Places at which something could not be read.
  private(set) var damages = 0

  private let directory: String
  private let files: any FileSystem
  private var name: SegmentName
  /// Where the next batch begins.
  private var offset: Int
  private var lineNumber = 1
  private var source: Source?
  /// The next segment has a header, so that this one has its last bytes.
  private var isFinal = false
  private var bytes: [UInt8] = []
  private var staged: [(range: Range<Int>, record: RecordLine)] = []
  private var index = 0

  /// An open segment; a class, because an optional of a noncopyable type cannot be used in place.
  private final class Source {
    var reader: LineReader
    init(_ reader: consuming LineReader) { self.reader = reader }
  }

  /// - Parameter offset: where to begin: a batch's start.
  init(directory: String, files: any FileSystem, segment: SegmentName, offset: Int) {
    self.directory = directory
    self.files = files
    worker = segment.worker
    name = segment
    self.offset = offset
  }

  /// The current record. Valid after `next` returned true and until it is called again.
  var record: RecordLine { staged[index].record }

  func withLine<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    bytes.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[staged[index].range])) }
  }

  /// Goes to the next record.
  /// - Parameter list: the directory's segments; asked for only where a segment ends.
  /// - Returns: false if there is none as yet; a later call may find one.
  func next(_ list: () throws(Errno) -> [SegmentName]) throws(Errno) -> Bool {
    index += 1
    while index >= staged.count {
      clear()
      if try !readBatch() {
        guard try goOn(list) else { return false }
      }
    }
    return true
  }

  private func clear() {
    index = 0
    bytes.removeAll(keepingCapacity: true)
    staged.removeAll(keepingCapacity: true)
  }

  private var path: String { directory + "/" + name.text() }

  /// At the end of what is there of a segment. - Returns: true if there may be more now.
  private func goOn(_ list: () throws(Errno) -> [SegmentName]) throws(Errno) -> Bool {
    let unsealed = staged.count
    clear()
    source = nil
    let segments = try list().filter { $0.worker == worker && $0 > name }
    for segment in segments where try Self.header(path(segment), files) != nil {
      // What was written here before the next segment was begun is still to be read.
      if !isFinal {
        isFinal = true
        return true
      }
      if unsealed > 0 {
        damage("\(unsealed) records without a seal")
      }
      name = segment
      offset = 0
      lineNumber = 1
      isFinal = false
      return true
    }
    return false
  }

  private func path(_ segment: SegmentName) -> String { directory + "/" + segment.text() }

  /// The header of a segment; nil if it has none yet, or is gone.
  static func header(_ path: String, _ files: any FileSystem) throws(Errno) -> SegmentHeader? {
    do throws(Errno) {
      var reader = try LineReader(path: path, files, bufferSize: SegmentName.blockSize)
      if case .text(let line) = try reader.next() { return SegmentHeader.parse(line) }
    } catch {
      if error.code != ENOENT { throw error }
    }
    return nil
  }

  private func open() throws(Errno) -> Bool {
    if source != nil { return true }
    do throws(Errno) {
      if offset > 0 && run == nil { run = try Self.header(path, files)?.run }
      source = Source(
        try LineReader(
          path: path, files, offset: offset, lineNumber: lineNumber, bufferSize: Self.bufferSize))
      return true
    } catch {
      // Deleted, or removed unused: the chain goes on in the next segment.
      guard error.code == ENOENT else { throw error }
      isFinal = true
      return false
    }
  }

  /// Stages the lines of the next batch. - Returns: false if no seal comes.
  private func readBatch() throws(Errno) -> Bool {
    guard try open(), let source else { return false }
    while true {
      let place = source.reader.offset
      switch try source.reader.next() {
      case .end, .unterminated: return false
      case .text(let line):
        if line.isEmpty {
          // Beside a writer this is where it goes on; newlines and then more are damage.
          if !isFinal { return false }
          if !staged.isEmpty { damage("newlines before a seal") }
          clear()
          _ = try source.reader.skipNewlines()
        } else if Seal.begins(line) {
          if endBatch(line) {
            try settle(source)
            if !staged.isEmpty { return true }
          }
        } else if place == 0, let header = SegmentHeader.parse(line) {
          run = header.run
        } else {
          stage(line)
        }
      }
    }
  }

  private func stage(_ line: UnsafeRawBufferPointer) {
    guard let record = RecordLine.parse(line), JSONShape.isObject(line) else {
      // Also what a commit under way shows in part: it is read again if it has no seal.
      if isFinal { damage("not a record") }
      return
    }
    if bytes.count + line.count > Self.stagedMaximum {
      damage("too many records without a seal")
      clear()
    }
    let start = bytes.count
    bytes.append(contentsOf: line)
    staged.append((start..<bytes.count, record))
  }

  /// - Returns: false if it is no seal.
  private func endBatch(_ line: UnsafeRawBufferPointer) -> Bool {
    guard let seal = Seal.parse(line) else {
      damage("a malformed seal")
      return false
    }
    let isCounted =
      staged.first?.record.sequence == seal.firstSequence
      && staged.last?.record.sequence == seal.lastSequence
      && UInt64(staged.count) == seal.lastSequence &- seal.firstSequence &+ 1
    if !isCounted { damage("a seal that counts otherwise") }
    return true
  }

  /// The batch is whole: the next one begins at a block.
  private func settle(_ source: Source) throws(Errno) {
    let block = SegmentName.blockSize
    offset = (source.reader.offset + block - 1) / block * block
    _ = try source.reader.skipNewlines(upTo: offset)
    lineNumber = source.reader.lineNumber
  }

  private func damage(_ what: String) {
    damages += 1
    // Where much is damaged, `audit verify` says where it begins.
    if damages <= Self.noticesMaximum {
      let line = (source?.reader.lineNumber ?? lineNumber) - 1
      notices.append("\(name.text()):\(line): \(what)")
    }
  }

  func takeNotices() -> [String] {
    defer { notices = [] }
    return notices
  }
}
