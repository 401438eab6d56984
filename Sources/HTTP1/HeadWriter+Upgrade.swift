// Heads that switch protocols (RFC 9110 7.8) as HTTP/1.1 text: a request that offers one protocol, and the
// 101 that accepts it.

public import HTTP

extension HeadWriter {
  /// Bytes that the lines below take beside the protocol itself.
  private static let upgradeMargin = 160

  /// Room that `request` needs at most where it offers `offered`.
  public static func capacity(
    for forwarding: RequestForwarding, offering offered: UnsafeRawBufferPointer
  ) -> Int {
    capacity(for: forwarding) + offered.count + upgradeMargin
  }

  /// Appends the head of a request that offers to switch to one protocol, with the empty line that ends
  /// it. An extended CONNECT of HTTP/2 becomes the GET that it stands for (RFC 8441 5).
  ///
  /// - Parameters:
  ///   - offered: the protocol, as the client has named it.
  ///   - key: of a WebSocket handshake that the client has left to this proxy.
  public mutating func upgradeRequest(
    _ forwarding: borrowing RequestForwarding, offering offered: UnsafeRawBufferPointer,
    _ key: WebSocketKey?
  ) {
    let request = forwarding.request
    if request.isExtendedConnect { append("GET") } else { append(request.methodName) }
    append(" ")
    let (prefix, rest) = forwarding.target
    append(prefix)
    append(rest)
    requestFields(forwarding)
    if request.acceptsTrailers {
      append("TE: trailers\r\nConnection: TE, Upgrade\r\n")
    } else {
      append("Connection: Upgrade\r\n")
    }
    field("Upgrade", offered)
    if let key { key.withText { field("Sec-WebSocket-Key", $0) } }
    forwarding.addFields(to: &self)
    crlf()
  }

  /// Appends the head of a 101, with the empty line that ends it.
  ///
  /// - Parameter name: of the protocol, in what was received.
  public mutating func switchingResponse(
    _ forwarding: borrowing ResponseForwarding, to name: UnsafeRawBufferPointer
  ) {
    statusLine(of: forwarding.response)
    switchingFields(forwarding, to: name)
    crlf()
  }

  /// Appends the head of a 101 that stands for the answer to an extended CONNECT, with the empty line that
  /// ends it (RFC 8441 5).
  ///
  /// - Parameter key: of the client's handshake, if it is one of WebSocket.
  public mutating func switchingResponse(
    _ forwarding: borrowing ResponseForwarding, to name: UnsafeRawBufferPointer,
    accepting key: WebSocketKey?
  ) {
    statusLine(101)
    switchingFields(forwarding, to: name)
    if let key { key.withAccept { field("Sec-WebSocket-Accept", $0) } }
    crlf()
  }

  private mutating func switchingFields(
    _ forwarding: borrowing ResponseForwarding, to name: UnsafeRawBufferPointer
  ) {
    endToEndFields(of: forwarding.response, except: ResponseForwarding.replaced)
    append("Connection: Upgrade\r\n")
    field("Upgrade", name)
    forwarding.addVia(to: &self)
  }
}
