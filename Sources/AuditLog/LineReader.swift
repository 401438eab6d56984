// LineReader streams a file's lines through one buffer, with their places. It owns the open file
// and the buffer, reads blocking, and refuses lines beyond its limit, so that a damaged file cannot
// make a reader use more memory than that.
//
// TRAP: (file) the buffer is never empty: 256 KiB at first, and it only grows.

internal import Glibc
internal import MillraceEngine

struct LineReader: ~Copyable {
  /// Twice the longest batch that makes sense; a record is at most half a batch.
  static let lineMaximum = 4 << 20

  enum Line {
    /// A line without its newline; valid until the next call.
    case text(UnsafeRawBufferPointer)
    /// The file ends within a line, or the line is too long.
    case unterminated
    case end
  }

  private let file: BlockingFile
  private var buffer: UnsafeMutableRawBufferPointer
  private var filled = 0
  private var consumed = 0
  private var fileOffset = 0
  /// The offset of the next byte to be returned.
  var offset: Int { fileOffset - filled + consumed }
  /// The number of the next line, from 1.
  private(set) var lineNumber = 1

  /// - Parameters:
  ///   - offset: where to begin, the start of a line.
  ///   - lineNumber: the number of that line.
  ///   - bufferSize: bytes of one read; a longer line makes the buffer grow.
  init(
    path: String, _ files: any FileSystem, offset: Int = 0, lineNumber: Int = 1,
    bufferSize: Int = 256 << 10
  ) throws(Errno) {
    file = try files.open(path, .read)
    buffer = .allocate(byteCount: bufferSize, alignment: 16)
    fileOffset = offset
    self.lineNumber = lineNumber
  }

  deinit {
    buffer.deallocate()
  }

  mutating func next() throws(Errno) -> Line {
    var searched = 0
    while true {
      let available = filled - consumed
      // SAFETY: consumed + available is filled, which lies within the buffer.
      let start = UnsafeRawPointer(buffer.baseAddress! + consumed)
      if available > searched,
        let hit = memchr(start + searched, 0x0A, available - searched)
      {
        let length = UnsafeRawPointer(hit) - start
        consumed += length + 1
        lineNumber += 1
        return .text(UnsafeRawBufferPointer(start: start, count: length))
      }
      searched = available
      if try !fill() { return available == 0 ? .end : .unterminated }
    }
  }

  /// Skips newlines up to `limit` (an offset in the file), or to the first other byte.
  /// - Returns: false if another byte or the end of the file came first.
  mutating func skipNewlines(upTo limit: Int = .max) throws(Errno) -> Bool {
    while offset < limit {
      if consumed == filled, try !fill() { return false }
      let bound = min(filled - consumed, limit - offset)
      let start = UnsafeRawPointer(buffer.baseAddress! + consumed)
      if start.load(as: UInt8.self) != 0x0A { return false }
      // A run equals itself shifted by one: memcmp walks a prefilled segment at memory speed.
      if memcmp(start, start + 1, bound - 1) == 0 {
        consumed += bound
        lineNumber += bound
      } else {
        consumed += 1
        lineNumber += 1
      }
    }
    return true
  }

  /// Reads on, and keeps what is not consumed. False at the end of the file or at the limit.
  private mutating func fill() throws(Errno) -> Bool {
    let rest = filled - consumed
    if consumed > 0 {
      memmove(buffer.baseAddress!, buffer.baseAddress! + consumed, rest)
      filled = rest
      consumed = 0
    }
    if filled == buffer.count {
      if buffer.count >= Self.lineMaximum { return false }
      let larger = UnsafeMutableRawBufferPointer.allocate(
        byteCount: buffer.count * 2, alignment: 16)
      memcpy(larger.baseAddress!, buffer.baseAddress!, filled)
      buffer.deallocate()
      buffer = larger
    }
    let count = try file.read(
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...]), at: fileOffset)
    filled += count
    fileOffset += count
    return count > 0
  }
}
