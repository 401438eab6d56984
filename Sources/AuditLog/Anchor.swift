// Anchor is a statement about a chain that is kept elsewhere (the proxy's log): this worker of this
// run had this seal at this sequence. Compared with the chain later it proves that nothing was cut
// off.

/// Where a chain stood at some time.
public struct Anchor: Equatable, Sendable {
  public var run: RunIdentity
  public var worker: Int
  /// How many workers the run had.
  public var workers: Int
  /// The last sequence that the seal covers.
  public var sequence: UInt64
  public var seal: SealHash

  /// One line of JSON without a newline.
  public var text: String {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: 512, alignment: 8)
    defer { memory.deallocate() }
    var cursor = ByteCursor(base: memory, capacity: 512)
    cursor.literal("{\"kind\":\"anchor\",\"run\":\"")
    run.write(into: &cursor)
    cursor.literal("\",\"worker\":")
    cursor.decimal(UInt64(worker))
    cursor.literal(",\"workers\":")
    cursor.decimal(UInt64(workers))
    cursor.literal(",\"seq\":")
    cursor.decimal(sequence)
    cursor.literal(",\"seal\":\"")
    seal.write(into: &cursor)
    cursor.literal("\"}")
    return String(
      decoding: UnsafeRawBufferPointer(start: memory, count: cursor.position), as: UTF8.self)
  }

  /// Finds an anchor in a line, which may have a log's prefix and suffix around it.
  static func parse(_ line: UnsafeRawBufferPointer) -> Anchor? {
    for start in 0..<line.count where line[start] == 0x7B {
      var reader = ByteReader(UnsafeRawBufferPointer(rebasing: line[start...]))
      guard reader.take("{\"kind\":\"anchor\",\"run\":\""), let text = reader.bytes(32),
        let run = RunIdentity(hex: text),
        reader.take("\",\"worker\":"), let worker = reader.decimal(), worker <= 999,
        reader.take(",\"workers\":"), let workers = reader.decimal(), workers <= 1000,
        reader.take(",\"seq\":"), let sequence = reader.decimal(),
        reader.take(",\"seal\":\""), let seal = reader.hash(), reader.take("\"}")
      else { continue }
      return Anchor(
        run: run, worker: Int(worker), workers: Int(workers), sequence: sequence, seal: seal)
    }
    return nil
  }
}

extension Anchor {
  /// Reads what `text` wrote; nil if it is no anchor.
  package init?(_ text: String) {
    guard let anchor = Array(text.utf8).withUnsafeBytes(Self.parse) else { return nil }
    self = anchor
  }
}
