// What a response head loses and gains on its way to the client; the counterpart of
// RequestForwarding. Connection, Transfer-Encoding and the reason phrase are each protocol's own.

/// The rules for one response. It is made where the head is written, and borrows the response.
public struct ResponseForwarding {
  public let response: ResponseView
  @usableFromInline let pseudonym: UnsafeRawBufferPointer
  /// Whether a Date is added: RFC 9110 6.6.1 has who forwards a response without one add it. A Date
  /// that Connection names is not forwarded.
  public let addsDate: Bool

  /// - Parameter pseudonym: this proxy's name in Via; empty: no Via is added.
  @inlinable @inline(__always)
  public init(_ response: ResponseView, pseudonym: UnsafeRawBufferPointer) {
    self.response = response
    self.pseudonym = pseudonym
    let present = response.presentFields
    addsDate =
      !present.has(.date)
      || present.has(.connection) && response.first(.date)?.isHopByHop == true
  }

  /// The lines that do not go on as they came, by name.
  @inlinable public static var replaced: FieldSet { [.contentLength] }

  /// Whether a line of the response goes on.
  @inlinable @inline(__always)
  public func passes(_ line: FieldLine) -> Bool {
    !line.isHopByHop && !Self.replaced.has(line.known)
  }

  /// Adds Date where the response has none.
  ///
  /// - Parameter date: refreshed where `addsDate`.
  @inlinable @inline(__always)
  package func addDate<Sink: FieldSink & ~Copyable>(to sink: inout Sink, _ date: HTTPDate) {
    if addsDate { date.withLatest { sink.field("Date", $0) } }
  }

  /// Adds Via; after all other fields.
  @inlinable @inline(__always)
  package func addVia<Sink: FieldSink & ~Copyable>(to sink: inout Sink) {
    if pseudonym.count > 0 { sink.viaField(response.version, pseudonym) }
  }

  /// The value of Content-Length where a response without content has one that a GET would have had:
  /// that of HEAD and of 304 (RFC 9110 8.6).
  public var lengthWithoutContent: UnsafeRawBufferPointer? {
    guard response.status != 204, let line = response.first(.contentLength) else { return nil }
    return response.slice(line.value)
  }
}
