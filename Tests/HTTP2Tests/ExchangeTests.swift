import HTTP2
import Testing

@Suite("Exchanges over HTTP/2")
struct ExchangeTests {
  @Test("A request without content and its response arrive whole, at any split of the bytes")
  func simplest() {
    for piece in [1, 2, 7, 1000] {
      var pair = Pair()
      pair.server.answer = { session, event in
        guard event.kind == .end else { return }
        check(session.respond(event.stream, response(204)))
      }
      let stream = pair.client.session.request(request("/a"), tag: 77)
      #expect(stream == 1)
      pair.pump(piece: piece)
      check(pair.server.kinds(1) == [.head, .end, .closed])
      let head = pair.server.told.first { $0.kind == .head }!
      check(head.text == ":method=GET :scheme=http :authority=example :path=/a")
      check(head.endsStream)
      check(pair.client.kinds(1) == [.head, .end, .closed])
      let answer = pair.client.told.first { $0.kind == .head }!
      #expect(answer.status == 204)
      #expect(answer.tag == 77)
      check(pair.client.told.last == Told(kind: .closed, stream: 1, tag: 77))
      check(pair.client.session.openStreams == 0)
      check(pair.server.session.openStreams == 0)
    }
  }

  @Test("The parts of a head are found by name")
  func headView() {
    var pair = Pair()
    var fields = request("/x?y", method: "POST")
    fields.append("user-agent", "test")
    fields.append("content-length", number: 0)
    _ = pair.client.session.request(fields)
    let bytes = pair.client.say()
    let transfer = bytes.withUnsafeBytes { pair.server.session.receive($0) }
    check(transfer.consumed == bytes.count && transfer.progress == .wantsInput)
    var found = false
    while let event = pair.server.session.nextEvent() {
      guard event.kind == .head else { continue }
      found = true
      let head = pair.server.session.head(event)
      check(head.count == 6)
      check(String(decoding: head.method, as: UTF8.self) == "POST")
      check(String(decoding: head.path, as: UTF8.self) == "/x?y")
      check(String(decoding: head.authority, as: UTF8.self) == "example")
      check(String(decoding: head.scheme, as: UTF8.self) == "http")
      check(String(decoding: head.first("content-length")!, as: UTF8.self) == "0")
      check(head.first("content-type") == nil)
    }
    #expect(found)
  }

  @Test("Content of any length crosses unchanged in both directions, through rooms of any size")
  func content() {
    for count in [1, 1023, 1024, 4099, 16_384, 16_385, 70_000, 1_500_000] {
      for room in [2048, 16_384 + 9, 65_536] {
        var pair = Pair()
        pair.server.answer = { session, event in
          guard event.kind == .end else { return }
          session.respond(
            event.stream, response(),
            content: HTTP2Content(repeating: block, from: 5, count: count))
        }
        _ = pair.client.session.request(
          request(method: "POST"), content: HTTP2Content(repeating: block, count: count))
        pair.pump(roomBytes: room)
        check(pair.server.content[1] == pattern(count: count))
        check(pair.client.content[1] == pattern(from: 5, count: count))
        check(pair.client.told.last?.kind == .closed)
        check(pair.client.told.last?.code == .noError)
      }
    }
  }

  @Test("Content that comes in parts leaves as it is supplied, and ends when it is said to")
  func supplied() {
    var pair = Pair()
    pair.server.answer = { session, event in
      switch event.kind {
      case .end: session.respond(event.stream, response(), content: .later)
      case .drained where event.tag == 1:
        session.supply(event.stream, HTTP2Content(.init(rebasing: block[100..<110])))
      default: break
      }
    }
    _ = pair.client.session.request(request())
    pair.pump()
    check(pair.client.kinds(1) == [.head])
    pair.server.session.setTag(1, 1)
    check(
      pair.server.session.supply(
        1, HTTP2Content(.init(rebasing: block[0..<100]), endsStream: false)))
    pair.pump()
    check(pair.client.content[1] == pattern(count: 110))
    check(pair.client.told.last?.kind == .closed)
    check(!pair.server.session.supply(1, .none))
  }

  @Test("Content that is ended after the fact ends with an empty frame")
  func endedLater() {
    var pair = Pair()
    pair.server.answer = { session, event in
      guard event.kind == .end else { return }
      session.respond(event.stream, response(), content: .later)
    }
    _ = pair.client.session.request(request())
    pair.pump()
    check(pair.server.session.supply(1, .none))
    pair.pump()
    check(pair.client.kinds(1) == [.head, .end, .closed])
    check(pair.client.content[1] == nil)
  }

  @Test("An interim response is a head of its own before the response")
  func interim() {
    var pair = Pair()
    pair.server.answer = { session, event in
      if event.kind == .head { check(session.respondInterim(event.stream, response(100))) }
      if event.kind == .end { session.respond(event.stream, response(201)) }
    }
    var fields = request(method: "PUT")
    fields.append("expect", "100-continue")
    _ = pair.client.session.request(fields, content: HTTP2Content(block))
    pair.pump()
    check(pair.client.told.filter { $0.kind == .head }.map(\.status) == [100, 201])
  }

  @Test("A thousand requests on hundred streams are each answered with their own content")
  func many() {
    var server = HTTP2Configuration(.server)
    server.concurrentStreams = 100
    var pair = Pair(server: server)
    pair.server.answer = { session, event in
      guard event.kind == .end else { return }
      session.respond(
        event.stream, response(200),
        content: HTTP2Content(
          repeating: block, from: Int(event.stream), count: 100 + Int(event.stream)))
    }
    pair.pump()
    var sent = 0
    var most = 0
    while sent < 1000 {
      while sent < 1000, pair.client.session.canRequest {
        check(pair.client.session.request(request("/\(sent)"), tag: UInt64(sent)) != nil)
        sent += 1
      }
      most = max(most, pair.client.session.openStreams)
      pair.pump(piece: 333)
    }
    pair.pump()
    #expect(most == 100)
    let closed = pair.client.told.filter { $0.kind == .closed }
    #expect(closed.count == 1000)
    #expect(Set(closed.map(\.tag)) == Set(0..<1000))
    for i in 0..<1000 {
      let stream = Int32(i * 2 + 1)
      check(pair.client.content[stream] == pattern(from: Int(stream), count: 100 + Int(stream)))
    }
  }

  @Test("In steady state nothing is taken from the system's memory")
  func steady() {
    var pair = Pair()
    pair.server.answer = { session, event in
      guard event.kind == .end else { return }
      session.respond(
        event.stream, response(200), content: HTTP2Content(repeating: block, count: 20_000))
    }
    func round() {
      for _ in 0..<20 { _ = pair.client.session.request(request("/steady")) }
      pair.pump()
    }
    for _ in 0..<3 { round() }
    let before = pair.memory.systemAllocations
    for _ in 0..<50 { round() }
    check(pair.memory.systemAllocations == before)
    #expect(before > 0)
  }

  @Test("A session gives all its memory back")
  func returned() {
    let memory = HTTP2Memory()
    do {
      var client = Side(HTTP2Configuration(.client), memory)
      _ = client.session.request(request(), content: HTTP2Content(repeating: block, count: 9))
      _ = client.say()
      #expect(memory.blocksInUse > 0)
    }
    #expect(memory.blocksInUse == 0)
  }
}
