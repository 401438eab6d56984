// A copied head gives what the one that was copied gave, after its bytes are gone; and the copy fits
// into exactly the memory that it says.

import HTTP
import HTTP1
import Testing

@Suite struct OwnedHeadTests {
  private let request =
    "POST http://a.example:81/p/q?x=1 HTTP/1.1\r\nHost: b\r\nConnection: X-Gone\r\nX-Gone: 1\r\n"
    + "Cookie: a\r\nTE: trailers\r\nCookie:b\r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n"

  /// Everything that a view says.
  private func told(_ view: RequestView) -> [String] {
    var all = [
      "\(view.method) \(view.version) \(view.content) \(view.targetForm) \(view.targetIsHTTPS)",
      "\(view.expectsContinue) \(view.acceptsTrailers) \(view.offersUpgrade) \(view.hasQuery)",
      text(view.methodName), text(view.target), text(view.path), text(view.query),
      text(view.authority), text(view.host), "\(view.port ?? 0)", text(view.bytes),
      "\(view.presentFields.rawValue) \(view.repeatedFields.rawValue)",
    ]
    for index in 0..<view.fieldCount {
      let line = view.field(index)
      all.append(
        "\(line.known) \(line.isHopByHop) \(text(view.slice(line.name)))=\(text(view.slice(line.value)))"
      )
    }
    for name in FieldName.allCases {
      if let line = view.first(name) { all.append("\(name): \(text(view.slice(line.value)))") }
    }
    return all
  }

  private func text(_ bytes: UnsafeRawBufferPointer) -> String {
    String(decoding: bytes, as: UTF8.self)
  }

  private func memory(_ count: Int) -> UnsafeMutableRawBufferPointer {
    .allocate(byteCount: count, alignment: OwnedHead.alignment)
  }

  @Test func `a copy says the same when the bytes are gone and the next head has been parsed`() {
    var head = RequestHead(fieldCapacity: 16)
    let bytes = Array((request + "content").utf8)
    let room = memory(4096)
    defer { room.deallocate() }
    var copy: OwnedHead?
    var expected: [String] = []
    withExactBytes(bytes) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: request.utf8.count))
      expected = told(head.view(in: raw))
      copy = OwnedHead(copying: head.view(in: raw), into: room)
      for byte in raw.indices {
        UnsafeMutableRawPointer(mutating: raw.baseAddress!).storeBytes(
          of: 0x5A, toByteOffset: byte, as: UInt8.self)
      }
    }
    withExactBytes(Array("GET / HTTP/1.0\r\nA: b\r\n\r\n".utf8)) {
      #expect(head.parse($0, limits: HeadLimits()) != .incomplete)
    }
    #expect(copy.map { told($0.view) } == expected)
    #expect(expected.contains("other true X-Gone=1"))
  }

  @Test func `the same head is written from a copy as from the original`() {
    var head = RequestHead(fieldCapacity: 16)
    let room = memory(4096)
    defer { room.deallocate() }
    withExactBytes(Array(request.utf8)) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) != .incomplete)
      let view = head.view(in: raw)
      let copy = OwnedHead(copying: view, into: room)
      #expect(copy.map { written($0.view) } == written(view))
      #expect(written(view).hasPrefix("POST /p/q?x=1 HTTP/1.1\r\nHost: a.example:81\r\n"))
    }
  }

  private func written(_ view: RequestView) -> String {
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    let forwarding = RequestForwarding(
      view, client: nothing, isSecure: true, defaultAuthority: nothing, pseudonym: nothing)
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 1)
    defer { room.deallocate() }
    var writer = HeadWriter(room)
    writer.request(forwarding)
    return String(decoding: room[..<writer.count], as: UTF8.self)
  }

  @Test(arguments: [1, 2, 3, 16])
  func `a byte less than it takes is refused, and no byte more is touched`(lines: Int) {
    var head = RequestHead(fieldCapacity: 16)
    var request = "GET / HTTP/1.1\r\nHost: a\r\n"
    for line in 1..<lines { request += "L\(line): v\(line)\r\n" }
    request += "\r\n"
    withExactBytes(Array(request.utf8)) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      let view = head.view(in: raw)
      let need = OwnedHead.byteCount(for: view)
      for spare in [-1, 0, 1] {
        let room = memory(need + 16)
        defer { room.deallocate() }
        for index in room.indices { room[index] = 0xA5 }
        let given = UnsafeMutableRawBufferPointer(rebasing: room[..<(need + spare)])
        let copy = OwnedHead(copying: view, into: given)
        #expect((copy != nil) == (spare >= 0))
        #expect(copy.map { told($0.view) == told(view) } ?? true)
        let touched = copy == nil ? 0 : need
        #expect(room[touched...].allSatisfy { $0 == 0xA5 })
      }
    }
  }

  @Test func `memory that is not aligned, or none, is refused`() {
    var head = RequestHead(fieldCapacity: 4)
    let room = memory(2048)
    defer { room.deallocate() }
    withExactBytes(Array("GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8)) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      let view = head.view(in: raw)
      for offset in 1..<OwnedHead.alignment {
        let given = UnsafeMutableRawBufferPointer(rebasing: room[offset...])
        #expect(OwnedHead(copying: view, into: given) == nil)
      }
      let none = UnsafeMutableRawBufferPointer(start: nil, count: 0)
      #expect(OwnedHead(copying: view, into: none) == nil)
    }
  }

  @Test func `a head without field lines is copied`() {
    var head = RequestHead(fieldCapacity: 1)
    let room = memory(1024)
    defer { room.deallocate() }
    withExactBytes(Array("GET /x HTTP/1.0\r\n\r\n".utf8)) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      let copy = OwnedHead(copying: head.view(in: raw), into: room)
      #expect(copy.map { told($0.view) } == told(head.view(in: raw)))
    }
  }
}
