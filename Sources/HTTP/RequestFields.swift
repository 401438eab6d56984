// What single request fields mean, whatever protocol brought them: TE and Expect.

/// What the Expect lines of a request ask for (RFC 9110 10.1.1).
package enum Expectation {
  case none
  case continueResponse
  case unsupported
}

extension FieldTable {
  /// Reads all Expect lines: each must be `100-continue`.
  package func expectation(_ base: UnsafeRawPointer) -> Expectation {
    var result = Expectation.none
    guard present.has(.expect) else { return result }
    for index in 0..<count where lines[index].known == .expect {
      let value = lines[index].value
      guard value.count == 12,
        ByteClass.equalFolded(base + Int(value.start), "100-continue", count: 12)
      else { return .unsupported }
      result = .continueResponse
    }
    return result
  }

  /// Whether a TE line lists `trailers` (RFC 9110 10.1.4).
  package func acceptsTrailers(_ base: UnsafeRawPointer) -> Bool {
    guard present.has(.te) else { return false }
    for index in 0..<count where lines[index].known == .te {
      var elements = ListElements(lines[index].value)
      while let element = elements.next(base) {
        if element.count == 8,
          ByteClass.equalFolded(base + Int(element.start), "trailers", count: 8)
        {
          return true
        }
      }
    }
    return false
  }
}
