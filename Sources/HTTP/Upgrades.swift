// Switching protocols (RFC 9110 7.8): what a request offers, and what a 101 accepts. Read only where
// Upgrade is there and means this hop, which is rare.

/// The name of a protocol in Upgrade: what stands before a version (`websocket/13`).
private func protocolName(_ text: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
  let end = text.firstIndex(of: UInt8(ascii: "/")) ?? text.count
  return UnsafeRawBufferPointer(rebasing: text[..<end])
}

/// Whether it is `name`, or `name/version`, and of nothing but token characters.
private func isProtocol(_ text: UnsafeRawBufferPointer) -> Bool {
  var slashes = 0
  for byte in text {
    if byte == UInt8(ascii: "/") {
      slashes += 1
    } else if ByteClass.table[Int(byte)] & ByteClass.token == 0 {
      return false
    }
  }
  return text.count > 0 && slashes <= 1 && text.first != UInt8(ascii: "/")
    && text.last != UInt8(ascii: "/")
}

/// Whether two names of protocols are one: they are compared in any case.
private func isSame(_ left: UnsafeRawBufferPointer, _ right: UnsafeRawBufferPointer) -> Bool {
  guard left.count == right.count, let a = left.baseAddress, let b = right.baseAddress else {
    return false
  }
  return ByteClass.equalFolded(a, b, count: left.count)
}

extension RequestView {
  /// What is offered under `name`, with the version that it may have, as it stands in the head; nil if
  /// that protocol is not offered.
  public func upgrade(named name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    guard offersUpgrade else { return nil }
    if isExtendedConnect {
      let own = slice(parts.pointee.connectProtocol)
      return isSame(own, name) ? own : nil
    }
    for index in 0..<fieldCount where field(index).known == .upgrade {
      var elements = ListElements(field(index).value)
      while let element = elements.next(base) {
        let text = slice(element)
        if isProtocol(text), isSame(protocolName(text), name) { return text }
      }
    }
    return nil
  }

  /// Whether the request offers to switch to WebSocket (RFC 6455 4.1), with or without a version.
  public var offersWebSocket: Bool {
    let name: StaticString = "websocket"
    return upgrade(
      named: UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)) != nil
  }
}

extension RequestView {
  /// The key of a client's handshake of WebSocket; nil if there is none, or not exactly one.
  public var webSocketKey: WebSocketKey? {
    let name: StaticString = "sec-websocket-key"
    let wanted = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
    var found: UnsafeRawBufferPointer?
    for index in 0..<fieldCount where field(index).known == .other {
      guard isSame(slice(field(index).name), wanted) else { continue }
      guard found == nil else { return nil }
      found = slice(field(index).value)
    }
    return found.flatMap { WebSocketKey($0) }
  }
}

extension ResponseView {
  /// The protocol that a 101 switches to: Upgrade names exactly one, and Connection says that it means
  /// this hop. Without the version that it may have; nil if there is no such protocol.
  public var switchedProtocol: UnsafeRawBufferPointer? {
    guard connectionNamesUpgrade else { return nil }
    var found: UnsafeRawBufferPointer?
    for index in 0..<fieldCount where field(index).known == .upgrade {
      var elements = ListElements(field(index).value)
      while let element = elements.next(base) {
        let text = slice(element)
        guard found == nil, isProtocol(text) else { return nil }
        found = protocolName(text)
      }
    }
    return found
  }

  /// Whether a 101 switches to this protocol.
  public func switches(to name: UnsafeRawBufferPointer) -> Bool {
    switchedProtocol.map { isSame($0, name) } ?? false
  }

  private var connectionNamesUpgrade: Bool {
    let name: StaticString = "upgrade"
    let upgrade = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
    for index in 0..<fieldCount where field(index).known == .connection {
      var elements = ListElements(field(index).value)
      while let element = elements.next(base) {
        if isSame(slice(element), upgrade) { return true }
      }
    }
    return false
  }

  /// The value of the one line of this unrecognised name; nil if there is none, or more than one.
  public func only(named name: StaticString) -> UnsafeRawBufferPointer? {
    let wanted = UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount)
    var found: UnsafeRawBufferPointer?
    for index in 0..<fieldCount where field(index).known == .other {
      guard isSame(slice(field(index).name), wanted) else { continue }
      guard found == nil else { return nil }
      found = slice(field(index).value)
    }
    return found
  }

  /// Keeps lines of this unrecognised name from going on.
  package func leaveOut(_ name: StaticString) {
    fields.markHopByHop(
      base, named: UnsafeRawPointer(name.utf8Start), count: name.utf8CodeUnitCount)
  }
}
