// Whole heads as HTTP/1.1 text, from a view of any protocol and the rules for what goes on.

public import HTTP

extension HeadWriter: FieldSink {}

extension HeadWriter {
  /// What Connection says in a response.
  public enum ConnectionField: Sendable {
    case none, close
    /// For a client of HTTP/1.0, which takes no word for `close`.
    case keepAlive
  }

  /// Bytes that a forwarded request head, or response head, can need beyond the one received, from
  /// whichever protocol: the lines that are added, with the longest default authority (255) and
  /// pseudonym (128) in them.
  private static let requestMargin = 768
  private static let responseMargin = 256

  /// Room that `request` needs at most. A field line grows by the space behind its colon where it had
  /// none; those of HTTP/2 have their two lengths beside them, which is more than they grow by.
  @inline(__always)
  public static func capacity(for forwarding: RequestForwarding) -> Int {
    let request = forwarding.request
    return request.bytes.count + request.fieldCount + 2 * request.authority.count + requestMargin
  }

  /// Room that `response` needs at most.
  @inline(__always)
  public static func capacity(for forwarding: ResponseForwarding) -> Int {
    forwarding.response.bytes.count + forwarding.response.fieldCount + responseMargin
  }

  /// Appends a request head as the server gets it, with the empty line that ends it.
  public mutating func request(_ forwarding: borrowing RequestForwarding) {
    let request = forwarding.request
    append(request.methodName)
    append(" ")
    if request.targetForm == .absolute {
      let (prefix, rest) = forwarding.target
      append(prefix)
      append(rest)
    } else {
      append(request.target)
    }
    requestFields(forwarding)
    if request.acceptsTrailers { append("TE: trailers\r\nConnection: TE\r\n") }
    forwarding.addFields(to: &self)
    crlf()
  }

  /// What follows the target of a request, up to what Connection names.
  @inline(__always)
  mutating func requestFields(_ forwarding: borrowing RequestForwarding) {
    let request = forwarding.request
    append(" HTTP/1.1\r\nHost: ")
    append(forwarding.authority)
    crlf()
    endToEndFields(of: request, except: forwarding.replaced)
    if let hops = forwarding.maxForwards { field("Max-Forwards", decimal: UInt64(hops)) }
    switch request.content {
    case .length(let size): field("Content-Length", decimal: size)
    case .unknown: append("Transfer-Encoding: chunked\r\n")
    case .none: break
    }
  }

  /// Appends a final response head as the client gets it, with the empty line that ends it.
  ///
  /// - Parameters:
  ///   - method: the request's.
  ///   - chunked: whether content of unknown length leaves in chunks, rather than to the
  ///     connection's end.
  ///   - date: refreshed where the forwarding adds a Date.
  public mutating func response(
    _ forwarding: borrowing ResponseForwarding, method: HTTPMethod, chunked: Bool,
    connection: ConnectionField, date: HTTPDate
  ) {
    let response = forwarding.response
    statusLine(of: response)
    endToEndFields(of: response, except: ResponseForwarding.replaced)
    switch response.content(for: method) {
    case .length(let size): field("Content-Length", decimal: size)
    case .unknown: if chunked { append("Transfer-Encoding: chunked\r\n") }
    case .none: if let value = forwarding.lengthWithoutContent { field("Content-Length", value) }
    }
    forwarding.addDate(to: &self, date)
    switch connection {
    case .none: break
    case .close: append("Connection: close\r\n")
    case .keepAlive: append("Connection: keep-alive\r\n")
    }
    forwarding.addVia(to: &self)
    crlf()
  }

  /// Appends an interim response head, with the empty line that ends it.
  public mutating func interimResponse(_ response: ResponseView) {
    statusLine(of: response)
    endToEndFields(of: response, except: ResponseForwarding.replaced)
    crlf()
  }

  /// HTTP/2 has no reason phrases: the registered one stands for it.
  @inline(__always)
  mutating func statusLine(of response: ResponseView) {
    if response.version == .http2 {
      statusLine(response.status)
    } else {
      statusLine(response.status, reason: response.reason)
    }
  }

  /// Appends Via with one member (RFC 9110 7.6.3).
  @inline(__always)
  public mutating func viaField(_ version: HTTPVersion, _ pseudonym: UnsafeRawBufferPointer) {
    switch version {
    case .http11: append("Via: 1.1 ")
    case .http10: append("Via: 1.0 ")
    case .http2: append("Via: 2.0 ")
    }
    append(pseudonym)
    crlf()
  }
}
