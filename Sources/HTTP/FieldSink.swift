// Where the fields go that a hop adds to a head: the text of HTTP/1.1 or a field list of HTTP/2. The
// rules (RequestForwarding, ResponseForwarding) say which fields, a sink only how they are written.

@usableFromInline
package protocol FieldSink: ~Copyable {
  /// Adds a field. The name is as its specification writes it; HTTP/2 puts it in lower case.
  mutating func field(_ name: StaticString, _ value: UnsafeRawBufferPointer)
  mutating func field(_ name: StaticString, _ value: StaticString)
  /// Adds Via with one member: the version that the message came in, and who forwards it.
  mutating func viaField(_ version: HTTPVersion, _ pseudonym: UnsafeRawBufferPointer)
}
