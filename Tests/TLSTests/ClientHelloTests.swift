// The name in a client's first message, found in what its own session says, however it comes; and what is
// no such message.

import Testing

@testable import TLS

/// A ClientHello as bytes, in one record.
private struct Hello {
  var name: [UInt8]? = Array("shop.example".utf8)
  var sessionID = 32
  var suites = 32
  /// Extensions before the name: type and size.
  var others: [(UInt16, Int)] = [(0x0A0A, 0), (23, 1), (51, 1200)]
  var nameKind: UInt8 = 0
  var hasExtensions = true

  private static func number(_ value: Int, _ width: Int) -> [UInt8] {
    (0..<width).reversed().map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) }
  }

  private static func vector(_ bytes: [UInt8], _ width: Int) -> [UInt8] {
    number(bytes.count, width) + bytes
  }

  var message: [UInt8] {
    var body: [UInt8] = [3, 3] + Array(repeating: 7, count: 32)
    body += Self.vector(Array(repeating: 1, count: sessionID), 1)
    body += Self.vector(Array(repeating: 2, count: suites), 2)
    body += Self.vector([0], 1)
    var extensions: [UInt8] = []
    for (kind, size) in others {
      extensions +=
        Self.number(Int(kind), 2) + Self.vector(Array(repeating: 9, count: size), 2)
    }
    if let name {
      let entry = [nameKind] + Self.vector(name, 2)
      extensions += Self.number(0, 2) + Self.vector(Self.vector(entry, 2), 2)
    }
    if hasExtensions { body += Self.vector(extensions, 2) }
    return [1] + Self.vector(body, 3)
  }

  /// Records of at most `size` bytes of content.
  func records(_ size: Int = 16_384) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = message[...]
    while !rest.isEmpty {
      bytes += [22, 3, 1] + Self.vector(Array(rest.prefix(size)), 2)
      rest = rest.dropFirst(size)
    }
    return bytes
  }
}

/// Reads from an allocation of exactly their size, so that the address sanitizer sees a read past the end.
private func read(_ bytes: some Collection<UInt8>) -> ClientHello {
  let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { memory.deallocate() }
  memory.copyBytes(from: bytes)
  return ClientHello(UnsafeRawBufferPointer(memory))
}

@Suite("The name in a ClientHello")
struct ClientHelloTests {
  @Test("it is found behind whatever comes before it, in lower case", arguments: [0, 1, 32])
  func name(sessionID: Int) {
    var hello = Hello()
    hello.sessionID = sessionID
    #expect(read(hello.records()) == .name("shop.example"))
    hello.name = Array("SHOP.Example".utf8)
    hello.others = []
    #expect(read(hello.records()) == .name("shop.example"))
    hello.name = Array(repeating: UInt8(ascii: "a"), count: 255)
    #expect(read(hello.records()) == .name(String(repeating: "a", count: 255)))
  }

  @Test("a message in records of any size is read, and each beginning of it waits for more")
  func pieces() {
    let hello = Hello()
    for size in [1, 2, 3, 5, 64, 1000] {
      let bytes = hello.records(size)
      #expect(read(bytes) == .name("shop.example"), "records of \(size) bytes")
      guard size == 5 || size == 1000 else { continue }
      // The name is the last thing in the message.
      for count in bytes.indices { #expect(read(bytes[..<count]) == .incomplete, "\(count)") }
    }
  }

  @Test("a session of OpenSSL asks for its name", arguments: ["upstream.example", "a.b"])
  func session(name: String) throws {
    let context = try TLSClientContext(trust: .anyone)
    guard var session = TLSSession(client: context, host: name) else {
      Issue.record("no session")
      return
    }
    let said = withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 8) { room -> [UInt8] in
      withUnsafeTemporaryAllocation(byteCount: 16_384, alignment: 8) { plain in
        let transfer = session.receive(
          UnsafeRawBufferPointer(start: nil, count: 0), plaintext: plain, output: room)
        return Array(room[..<transfer.output])
      }
    }
    #expect(read(said) == .name(name))
  }

  @Test("a message without the extension asks for none")
  func none() {
    var hello = Hello()
    hello.name = nil
    #expect(read(hello.records()) == .noName)
    hello.hasExtensions = false
    #expect(read(hello.records()) == .noName)
  }

  @Test("what is no ClientHello is malformed at its first wrong byte")
  func malformed() {
    #expect(read("GET / HTTP/1.1\r\n".utf8) == .malformed)
    #expect(read([22, 2]) == .malformed)
    #expect(read([21]) == .malformed)
    #expect(read([22, 3, 1, 0, 0]) == .malformed)
    #expect(read([22, 3, 1, 0x40, 1]) == .malformed)
    #expect(read([22, 3, 3, 0, 1, 2]) == .malformed)
    #expect(read([UInt8]()) == .incomplete)
    for name in ["", "a b", "a/b", "é", "a\0", "[::1]"] {
      var hello = Hello()
      hello.name = Array(name.utf8)
      #expect(read(hello.records()) == .malformed, "\(name)")
    }
    var hello = Hello()
    hello.nameKind = 1
    #expect(read(hello.records()) == .malformed)
    hello = Hello()
    hello.name = Array(repeating: UInt8(ascii: "a"), count: 256)
    #expect(read(hello.records()) == .malformed)
  }

  @Test("one that does not end within the bound is given up")
  func bound() {
    var hello = Hello()
    hello.others = [(21, 16_000)]
    #expect(read(hello.records()) == .name("shop.example"))
    #expect(read(hello.records().dropLast()) == .incomplete)
    hello.others = [(21, 20_000)]
    #expect(read(hello.records()) == .malformed)
    // A message that says that it is small, in records of next to nothing.
    hello.others = [(21, 6000)]
    let many = hello.records(1)
    #expect(read(many.prefix(ClientHello.bytesMaximum - 1)) == .incomplete)
    #expect(read(many.prefix(ClientHello.bytesMaximum)) == .malformed)
  }

  @Test("no change of a byte, and no bytes at all, read past the end")
  func garbage() {
    var state: UInt64 = 88_172_645_463_325_252
    func random() -> UInt64 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return state
    }
    for size in [40, 16_384] {
      let bytes = Hello().records(size)
      for _ in 0..<4000 {
        var changed = bytes
        for _ in 0..<(1 + random() % 3) {
          changed[Int(random() % UInt64(changed.count))] = UInt8(truncatingIfNeeded: random())
        }
        _ = read(changed.prefix(Int(random() % UInt64(changed.count + 1))))
      }
    }
    for _ in 0..<4000 {
      _ = read(
        [22, 3, 1] + (0..<Int(random() % 200)).map { _ in UInt8(truncatingIfNeeded: random()) })
    }
  }
}
