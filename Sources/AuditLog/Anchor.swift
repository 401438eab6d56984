// Anchor is a statement about a chain that is kept elsewhere (the proxy's log): this worker of this
// run had this seal at this sequence. Compared with the chain later it proves that nothing was cut
// off.

internal import Text

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

  /// Finds an anchor in a text, whatever else stands in it.
  static func parse(_ text: UnsafeRawBufferPointer) -> Anchor? {
    var finder = AnchorFinder()
    finder.feed(text)
    finder.finish()
    return finder.anchors.first
  }
}

extension Anchor {
  /// Reads what `text` wrote; nil if it is no anchor.
  package init?(_ text: String) {
    guard let anchor = Array(text.utf8).withUnsafeBytes(Self.parse) else { return nil }
    self = anchor
  }
}
