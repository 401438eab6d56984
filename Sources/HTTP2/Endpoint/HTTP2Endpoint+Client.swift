// The client's side of a connection: streams of its own, and how it lets go of them.

extension HTTP2Endpoint {
  /// Whether another stream may be opened now: the server's limit, ours, and no GOAWAY of either.
  public var canOpenStream: Bool {
    mutating get {
      failure == nil && !hasPeerLeft && acceptedThrough == 0x7FFF_FFFF
        && streams.inUse < min(options.streams, peer.streams) && lastStream < 0x7FFF_FFFD
    }
  }

  /// Whether more streams are open than the server allows by now: what it has not heard of must not go to
  /// it.
  @inline(__always)
  public var isOverLimit: Bool { mutating get { streams.inUse > peer.streams } }

  /// Whether the server's first SETTINGS have come.
  @inline(__always)
  public var hasSettings: Bool { position != .firstFrame }

  /// Whether the server lets an extended CONNECT open a tunnel, as far as is known (RFC 8441 3).
  public var takesExtendedConnect: Bool { peer.takesExtendedConnect }

  /// Whether the server lets streams be opened at all.
  public var allowsStreams: Bool { peer.streams > 0 && !hasPeerLeft && failure == nil }

  /// Opens a stream. Its number is taken, so that its head must leave before that of any that is opened
  /// later, or never.
  /// - Returns: nil if none may be opened.
  public mutating func openStream(_ tag: UInt64) -> Int? {
    guard canOpenStream else { return nil }
    let id = lastStream == 0 ? 1 : lastStream + 2
    guard
      let stream = streams.open(
        id, sendWindow: peer.initialWindow, receiveWindow: options.streamWindow)
    else { return nil }
    streams[stream].pointee.tag = tag
    lastStream = id
    return stream
  }

  /// Forgets a stream of which no frame has left: there is nothing to reset.
  public mutating func withdraw(_ stream: Int) { release(stream, .byPeer) }
}
