// TailStart finds a place in a chain from which at least so many lines follow, without reading the
// chain: it looks for the end of a segment's content by halves, since what follows it is newlines,
// and from there backwards in growing steps.

internal import MillraceEngine

struct TailStart {
  private static let firstStep = 64 << 10
  /// Two records may make one line, and a batch that straddles a step is not counted.
  private static let recordsPerLine = 2

  let directory: String
  let files: any FileSystem

  /// - Parameter segments: the chain's, in order, at least one.
  func find(
    _ segments: [SegmentName], lines: Int
  ) throws(Errno) -> (segment: SegmentName, offset: Int) {
    var wanted = lines * Self.recordsPerLine
    for segment in segments.reversed() {
      let path = directory + "/" + segment.text()
      let end: Int
      do throws(Errno) { end = try contentEnd(path) } catch {
        // Deleted since it was listed.
        continue
      }
      var step = Self.firstStep
      while true {
        let from = max(0, end - step)
        let (start, records) = try count(path, from: from, to: end)
        if records >= wanted { return (segment, start) }
        if from == 0 {
          wanted -= records
          break
        }
        step *= 4
      }
    }
    return (segments[0], 0)
  }

  /// The end of the last block that is not all newlines, as the writer fills a segment from its
  /// start.
  private func contentEnd(_ path: String) throws(Errno) -> Int {
    let block = SegmentName.blockSize
    let file = try files.open(path, .read)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: block, alignment: 16)
    defer { memory.deallocate() }
    var low = 0
    var high = (try file.size() + block - 1) / block
    while low < high {
      let middle = (low + high) / 2
      let count = try file.read(into: memory, at: middle * block)
      let isBlank =
        count == 0 || TailShape.isFilling(UnsafeRawBufferPointer(rebasing: memory[..<count]))
      if isBlank { high = middle } else { low = middle + 1 }
    }
    return low * block
  }

  /// The first batch that begins at or behind `from`, and the records from there on.
  private func count(
    _ path: String, from: Int, to end: Int
  ) throws(Errno) -> (start: Int, records: Int) {
    let block = SegmentName.blockSize
    var reader = try LineReader(path: path, files, offset: from, bufferSize: 64 << 10)
    var start = from == 0 ? 0 : -1
    var records = 0
    while reader.offset < end {
      guard case .text(let line) = try reader.next() else { break }
      if Seal.begins(line) {
        let next = (reader.offset + block - 1) / block * block
        _ = try reader.skipNewlines(upTo: next)
        if start < 0 { start = next }
      } else if start >= 0, !line.isEmpty {
        records += 1
      }
    }
    return (max(start, 0), start < 0 ? 0 : records)
  }
}
