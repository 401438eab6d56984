import HTTP2
import Testing

@Suite("Flow control and endings of HTTP/2")
struct FlowTests {
  @Test("A sender stops at the window of a stream, and goes on when it opens")
  func streamWindow() {
    var client = HTTP2Configuration(.client)
    client.streamWindow = 10_000
    client.consumesByHand = true
    var pair = Pair(client: client)
    pair.server.answer = { session, event in
      guard event.kind == .end else { return }
      session.respond(
        event.stream, response(), content: HTTP2Content(repeating: block, count: 25_000))
    }
    _ = pair.client.session.request(request())
    pair.pump()
    check(pair.client.content[1]?.count == 10_000)
    check(pair.server.session.contentRemaining(1) == 15_000)
    pair.client.session.consume(1, 10_000)
    pair.pump()
    check(pair.client.content[1]?.count == 20_000)
    pair.client.session.consume(1, 10_000)
    pair.pump()
    check(pair.client.content[1] == pattern(count: 25_000))
    check(pair.client.told.last?.kind == .closed)
  }

  @Test("The window of the connection holds all streams, and one that is stalled holds no other")
  func connectionWindow() {
    var client = HTTP2Configuration(.client)
    client.streamWindow = 50_000
    client.connectionWindow = 100_000
    client.consumesByHand = true
    var pair = Pair(client: client)
    pair.server.answer = { session, event in
      guard event.kind == .end else { return }
      session.respond(
        event.stream, response(), content: HTTP2Content(repeating: block, count: 70_000))
    }
    for _ in 0..<3 { _ = pair.client.session.request(request()) }
    pair.pump()
    check(pair.client.content[1]?.count == 50_000)
    check(pair.client.content[3]?.count == 50_000)
    check(pair.client.content[5] == nil)
    pair.client.session.consume(3, 50_000)
    pair.pump()
    check(pair.client.content[1]?.count == 50_000, "its own window is still shut")
    check(pair.client.content[3] == pattern(count: 70_000))
    check(pair.client.content[5]?.count == 30_000, "what the connection's window has left")
  }

  @Test("A client holds requests back that the server has no stream for")
  func concurrency() {
    var server = HTTP2Configuration(.server)
    server.concurrentStreams = 2
    var pair = Pair(server: server)
    pair.pump()
    check(pair.client.session.canRequest)
    _ = pair.client.session.request(request())
    _ = pair.client.session.request(request())
    check(!pair.client.session.canRequest)
    pair.pump()
    pair.server.session.respond(1, response())
    pair.pump()
    check(pair.client.session.canRequest)
  }

  @Test("A stream that the server resets closes with the code, and the others go on")
  func resetByServer() {
    var pair = Pair()
    pair.server.answer = { session, event in
      if event.kind == .end && event.stream == 1 { session.reset(1, .enhanceYourCalm) }
      if event.kind == .end && event.stream == 3 { session.respond(3, response()) }
    }
    _ = pair.client.session.request(request(), tag: 5)
    _ = pair.client.session.request(request(), tag: 6)
    pair.pump()
    let closed = pair.client.told.filter { $0.kind == .closed }
    #expect(closed.first { $0.stream == 1 }?.code == .enhanceYourCalm)
    #expect(closed.first { $0.stream == 3 }?.code == .noError)
    check(pair.server.kinds(1) == [.head, .end, .closed])
  }

  @Test("A stream that the client resets closes at the server, with its content unsent")
  func resetByClient() {
    var client = HTTP2Configuration(.client)
    client.streamWindow = 1000
    client.consumesByHand = true
    var pair = Pair(client: client)
    pair.server.answer = { session, event in
      guard event.kind == .end else { return }
      session.respond(
        event.stream, response(), content: HTTP2Content(repeating: block, count: 9000))
    }
    _ = pair.client.session.request(request())
    pair.pump()
    pair.client.session.reset(1, .cancel)
    pair.pump()
    check(pair.server.told.last == Told(kind: .closed, stream: 1, code: .cancel))
    check(pair.server.session.openStreams == 0)
    check(!pair.server.session.respond(1, response()))
    _ = pair.client.session.request(request())
    pair.pump()
    check(pair.client.content[3]?.count == 1000)
  }

  @Test("After GOAWAY open streams finish, and requests that came too late are refused")
  func goAway() {
    var pair = Pair()
    _ = pair.client.session.request(request(), tag: 1)
    pair.pump()
    pair.server.session.goAway()
    // Submitted before the GOAWAY is read.
    _ = pair.client.session.request(request(), tag: 2)
    _ = pair.client.hear(pair.server.say())
    let event = pair.client.told.last { $0.kind == .goAway }
    #expect(event?.lastStream == 1)
    #expect(event?.code == .noError)
    check(!pair.client.session.canRequest)
    pair.pump()
    check(pair.client.told.last == Told(kind: .closed, stream: 3, tag: 2, code: .refusedStream))
    pair.server.session.respond(1, response(), content: HTTP2Content(block))
    pair.pump()
    check(pair.client.told.last == Told(kind: .closed, stream: 1, tag: 1))
    check(pair.client.content[1]?.count == block.count)
    check(pair.client.session.openStreams == 0)
  }

  @Test("Streams above the last one of a GOAWAY are refused all at once")
  func goAwayManyStreams() {
    var pair = Pair()
    pair.pump()
    for i in 0..<100 { _ = pair.client.session.request(request(), tag: UInt64(i)) }
    _ = pair.client.say()
    check(pair.client.hear(frame(7, number(0) + number(0))) == nil)
    let refused = pair.client.told.filter { $0.kind == .closed && $0.code == .refusedStream }
    #expect(refused.count == 100)
    check(pair.client.session.openStreams == 0)
  }

  @Test("A session that gives up says GOAWAY with its code, and is over")
  func terminate() {
    var pair = Pair()
    pair.pump()
    pair.server.session.terminate(.inadequateSecurity)
    let frames = Frame.all(in: pair.server.say())
    #expect(frames.contains { $0.type == 7 && $0.code == 12 })
    check(pair.server.session.isOver)
    check(pair.server.session.terminationCode == .inadequateSecurity)
  }
}
