// Trailer fields that came by HTTP/2: the same checks as for a head, and the same rule for what goes
// on as for the trailer section of a chunked message.

import HTTP

/// Reader of trailer sections; like `HTTP2RequestHead`.
public struct HTTP2Trailers: ~Copyable {
  private var table: FieldTable
  private var base: UnsafeRawPointer?

  /// - Parameter fieldCapacity: field lines that a section may have, 1...65535.
  public init(fieldCapacity: Int) { table = FieldTable(allocating: fieldCapacity) }

  deinit { table.deallocate() }

  /// Reads a trailer section.
  ///
  /// - Returns: nil, or the first rule that was found broken: then no line goes on.
  public mutating func read(_ section: HTTP2Head) -> HTTP2HeadRejection? {
    var pseudo = PseudoFields()
    base = nil
    if let rejection = FieldSection.read(section, &table, &pseudo) { return rejection }
    let hasPseudo =
      pseudo.method != nil || pseudo.scheme != nil || pseudo.authority != nil
      || pseudo.path != nil || pseudo.status != nil
    if hasPseudo { return .misplacedPseudoField }
    base = section.base
    return nil
  }

  /// Calls `body` with the name and the value of each line that goes on to the next hop.
  ///
  /// - Parameter dropsUnderscores: whether names with an underscore are left out.
  /// - Returns: lines that were left out because of an ambiguous name.
  public func forEachForwarded(
    dropsUnderscores: Bool, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void
  ) -> Int {
    guard let base else { return 0 }
    var ambiguous = 0
    for index in 0..<table.count {
      let line = table.line(index)
      switch line.trailerFate(base, dropsUnderscores: dropsUnderscores) {
      case .ambiguous: ambiguous += 1
      case .dropped: break
      case .passes:
        body(
          UnsafeRawBufferPointer(start: base + Int(line.name.start), count: Int(line.name.count)),
          UnsafeRawBufferPointer(start: base + Int(line.value.start), count: Int(line.value.count)))
      }
    }
    return ambiguous
  }
}
