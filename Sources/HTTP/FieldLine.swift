// One field line of a head, as two places in the bytes that the head was parsed from.

/// A field line (RFC 9110 5). Its ranges are relative to the bytes given to `parse`.
public struct FieldLine: Sendable {
  /// The name, as received.
  public package(set) var name: ByteRange
  /// The value without the white space around it (RFC 9110 5.5); may be empty.
  public package(set) var value: ByteRange
  /// The name if it is one that the proxy treats by name, else `other`.
  public package(set) var known: FieldName
  /// Whether the line concerns this connection only and is not forwarded: by its name, or because
  /// Connection nominates it (RFC 9110 7.6.1). A nomination has no effect on the fields that
  /// frame, route or attribute the message (`FieldSet.neverNominated`).
  public package(set) var isHopByHop: Bool

  /// Whether the name has a "_" in it. No recognised name has.
  package func hasUnderscore(_ base: UnsafeRawPointer) -> Bool {
    for position in Int(name.start)..<Int(name.end)
    where ByteClass.byte(base, position) == 0x5F {
      return true
    }
    return false
  }

  package init() {
    name = .empty
    value = .empty
    known = .other
    isHopByHop = false
  }
}
