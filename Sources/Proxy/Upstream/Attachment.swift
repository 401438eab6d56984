// The outcomes of getting a connection to a server.

import Exchange

/// What a connection is asked for.
enum ConnectionUse: UInt8, Comparable {
  /// A request and its response.
  case message
  /// A request that offers to switch protocols: on HTTP/2 a stream of a connection that allows that.
  case tunnel
  /// The same over HTTP/1.1, whatever else its server speaks.
  case tunnelOverHTTP1
  /// Bytes that are passed on as they are: no protocol is spoken on it.
  case raw

  static func < (a: ConnectionUse, b: ConnectionUse) -> Bool { a.rawValue < b.rawValue }
}

/// What came of asking for a connection.
enum Attachment {
  /// A pooled connection.
  case assigned(UpstreamPointer)
  /// A connection that is being made.
  case connecting(UpstreamPointer)
  /// The same, with a protocol that is not known before it is there.
  case dialing(UpstreamPointer)
  /// The server speaks HTTP/2, and takes no tunnels over it.
  case noTunnel
  case failed(Failure.Kind)

  @inline(__always)
  var isNoTunnel: Bool {
    if case .noTunnel = self { true } else { false }
  }
}

/// What became of a connect that has failed.
enum NextAddress {
  /// It goes on with the server's next address, on another connection.
  case connecting(UpstreamPointer)
  case failed(Failure.Kind)
  /// There is none left; the connection is still the exchange's.
  case none
}

/// What came of giving output to a connection.
enum RequestSending {
  /// It is with the transport now. - wire: the bytes that it has become there.
  case given(wire: Int)
  /// The transport still has what it was given before.
  case busy
  /// It is lost: the connection is settled at the turn's end.
  case lost
}
