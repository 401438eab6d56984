// Content and windows of a server's session, with nghttp2's client as the peer, and at their limits.

import HTTP
import Testing

@testable import HTTP2

@Suite("A server's streams and windows")
struct ServerFlowTests {
  /// A response as frames: a head and content as far as the window goes.
  private static func response(
    _ session: inout HTTP2Endpoint, _ stream: Int, content: [UInt8] = [], ends: Bool = true,
    _ fields: (inout FieldBlockWriter) -> Void = { _ in }
  ) -> [UInt8] {
    let id = session.id(stream)
    var bytes = withUnsafeTemporaryAllocation(byteCount: 100_000, alignment: 8) { room in
      let count = HTTP2ResponseWriter.writeHead(
        id, endsStream: content.isEmpty && ends, announcesNoTable: session.announcesNoTable,
        into: room
      ) { block in
        block.status(200)
        fields(&block)
      }
      return [UInt8](room[..<count])
    }
    bytes += data(&session, stream, content, ends: ends)
    if ends { session.end(stream) }
    return bytes
  }

  private static func data(
    _ session: inout HTTP2Endpoint, _ stream: Int, _ content: [UInt8], ends: Bool
  ) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = content[...]
    while !rest.isEmpty {
      let piece = rest.prefix(min(session.window(stream), session.frameSize, 16_384))
      rest = rest.dropFirst(piece.count)
      session.takeWindow(stream, piece.count)
      withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { room in
        HTTP2ResponseWriter.writeDataHead(
          session.id(stream), count: piece.count, endsStream: ends && rest.isEmpty,
          to: room.baseAddress!)
        bytes += room[..<HTTP2ResponseWriter.dataOverhead]
      }
      bytes += piece
    }
    return bytes
  }

  /// Carries bytes between nghttp2's client and the server until neither has any.
  private static func pump(
    _ client: inout Side, _ server: inout ServerHarness, piece: Int = .max
  ) {
    while true {
      let forth = client.say()
      server.hear(forth, piece: piece)
      let back = server.output
      server.output = []
      check(client.hear(back, piece: piece) == nil)
      if forth.isEmpty && back.isEmpty { return }
    }
  }

  @Test("nghttp2's client gets each response, at any split of the bytes")
  func exchanges() {
    for piece in [1, 2, 7, 1000, 100_000] {
      let memory = HTTP2Memory()
      var client = Side(HTTP2Configuration(.client), memory)
      var server = ServerHarness()
      server.answer = { session, event in
        guard case .head(let stream, true) = event else { return [] }
        let text = [UInt8]("stream \(session.id(stream))".utf8)
        return Self.response(&session, stream, content: text) { block in
          block.field("Content-Type", "text/plain")
          block.field("X-Something-Else", "Of Its Own")
          block.contentLength(UInt64(text.count))
        }
      }
      for _ in 0..<50 { _ = client.session.request(request("/a?b")) }
      Self.pump(&client, &server, piece: piece)
      for id in stride(from: 1, to: 100, by: 2) {
        let head = client.told.first { $0.stream == Int32(id) && $0.kind == .head }
        check(
          head?.text
            == ":status=200 content-type=text/plain x-something-else=Of Its Own content-length=\(8 + (id > 9 ? 1 : 0))"
        )
        check(client.content[Int32(id)] == [UInt8]("stream \(id)".utf8))
        check(client.kinds(Int32(id)).last == .closed)
      }
      check(server.session.openStreams == 0)
      check(client.session.openStreams == 0)
    }
  }

  @Test("A head longer than a frame crosses in CONTINUATION frames, both ways")
  func longHeads() {
    for size in [16_300, 16_384, 16_385, 33_000, 60_000] {
      let memory = HTTP2Memory()
      var limits = HTTP2Configuration(.client)
      limits.headBytes = 100_000
      var client = Side(limits, memory)
      var options = HTTP2EndpointOptions()
      options.headBytes = 100_000
      var server = ServerHarness(options)
      let value = String(repeating: "v", count: size)
      server.answer = { session, event in
        guard case .head(let stream, true) = event else { return [] }
        return Self.response(&session, stream) { block in
          Array(value.utf8).withUnsafeBytes { block.field("X-Long", $0) }
        }
      }
      var fields = request()
      fields.append("x-long", value)
      _ = client.session.request(fields)
      Self.pump(&client, &server)
      check(server.seen.first { $0.event == "head." }?.text.hasSuffix("x-long=\(value)") == true)
      check(client.told.first { $0.kind == .head }?.text == ":status=200 x-long=\(value)")
    }
  }

  @Test("A client that has shrunk its table is told that none is used")
  func noTable() {
    var server = ServerHarness()
    server.answer = { session, event in
      guard case .head(let stream, true) = event else { return [] }
      return Self.response(&session, stream)
    }
    server.hear(preface + frame(4, [0, 1] + number(0)) + getFrame(1))
    #expect(server.said.first { $0.type == 1 }?.payload == [0x20, 0x88])
  }

  @Test("Content of any length arrives whole, and its windows open as it is consumed")
  func uploads() {
    for count in [1, 65_535, 65_536, 300_000, 3_000_000] {
      let memory = HTTP2Memory()
      var client = Side(HTTP2Configuration(.client), memory)
      var server = ServerHarness()
      _ = client.session.request(
        request(method: "POST"), content: HTTP2Content(repeating: block, count: count))
      Self.pump(&client, &server)
      check(server.content[1] == pattern(count: count))
      check(server.seen.last?.event == "end")
    }
  }

  @Test("What is not consumed stops its stream at its window, and no other")
  func stoppedStream() {
    let memory = HTTP2Memory()
    var client = Side(HTTP2Configuration(.client), memory)
    var server = ServerHarness()
    server.consumes = false
    for _ in 0..<3 {
      _ = client.session.request(
        request(method: "POST"), content: HTTP2Content(repeating: block, count: 200_000))
    }
    Self.pump(&client, &server)
    for id: UInt32 in [1, 3, 5] { check(server.content[id]?.count == 65_535) }
    server.session.consume(server.places[3]!, 65_535)
    server.say()
    Self.pump(&client, &server)
    check(server.content[1]?.count == 65_535)
    // It has been passed on as a whole: the next window is twice as large.
    check(server.content[3]?.count == 65_535 + 131_070)
    // A stream that goes gives the connection back what it held.
    server.session.reset(server.places[1]!, .cancel)
    server.say()
    Self.pump(&client, &server)
    check(client.told.contains { $0.kind == .closed && $0.stream == 1 && $0.code == .cancel })
  }

  @Test("Windows grow while content is passed on, up to bounds for a stream and for all of them")
  func growth() {
    var options = HTTP2EndpointOptions()
    options.growthMaximum = 1_500_000
    var server = ServerHarness(options)
    server.hear(ServerHarness.hello + postFrame(1) + postFrame(3))
    func send(_ id: UInt32, _ count: Int) -> Int {
      var granted = 0
      var left = count
      while left > 0 {
        let piece = min(left, 16_384)
        server.hear(frame(0, stream: id, [UInt8](repeating: 0, count: piece)))
        left -= piece
      }
      for said in server.said where said.type == 8 && said.stream == id {
        granted += Int(said.payload[0]) << 24 | Int(said.payload[1]) << 16
        granted += Int(said.payload[2]) << 8 | Int(said.payload[3])
      }
      return granted
    }
    // What was granted in all is what was sent, and what the window has grown by.
    let first = send(1, 4_000_000)
    check(first - 4_000_000 <= 1_048_576 - 65_535 && first - 4_000_000 > 400_000)
    let both = send(3, 4_000_000) - 4_000_000 + first - 4_000_000
    check(both <= 1_500_000 && both > first - 4_000_000)
    check(server.seen.allSatisfy { $0.event != "failed" })
  }

  @Test(
    "DATA up to a window is taken, one byte more is an error of its stream or of the connection")
  func windows() {
    func send(_ count: Int, _ options: HTTP2EndpointOptions) -> ServerHarness {
      var server = ServerHarness(options)
      server.consumes = false
      server.hear(ServerHarness.hello + postFrame(1))
      var left = count
      while left > 0 {
        let piece = min(left, 16_384)
        server.hear(frame(0, stream: 1, [UInt8](repeating: 0, count: piece)))
        left -= piece
      }
      return server
    }
    var options = HTTP2EndpointOptions()
    options.streamWindow = 40_000
    for (count, code) in [(39_999, nil), (40_000, nil), (40_001, UInt32(3))] {
      let server = send(count, options)
      #expect(server.resetCode(1) == code)
      #expect(server.goAwayCode == nil)
    }
    options.streamWindow = 200_000
    options.connectionWindow = 100_000
    for (count, code) in [(99_999, nil), (100_000, nil), (100_001, UInt32(3))] {
      #expect(send(count, options).goAwayCode == code)
    }
  }

  @Test(
    "Streams up to the limit are opened, the next is refused, and a place that is free serves again"
  )
  func streamLimit() {
    var options = HTTP2EndpointOptions()
    options.streams = 3
    var server = ServerHarness(options)
    server.hear(ServerHarness.hello + postFrame(1) + postFrame(3) + postFrame(5))
    #expect(server.session.openStreams == 3)
    #expect(server.resetCode(5) == nil)
    server.hear(postFrame(7))
    #expect(server.resetCode(7) == HTTP2ErrorCode.refusedStream.rawValue)
    server.hear(frame(3, stream: 3, number(8)) + postFrame(9))
    #expect(server.session.openStreams == 3)
    #expect(server.resetCode(9) == nil)
  }

  @Test(
    "A head at the limit is taken, one byte or one field more is too large, and the next is read")
  func headLimit() {
    // Names, values and 32 for each of four fields.
    let base = 4 * 32 + 7 + 3 + 7 + 4 + 10 + 1 + 5 + 1
    for (extra, event) in [(-1, "head."), (0, "head."), (1, "too large")] {
      var options = HTTP2EndpointOptions()
      options.headBytes = base + 32 + 1 + 10
      var server = ServerHarness(options)
      let line = ("x", String(repeating: "v", count: 10 + extra))
      server.hear(
        ServerHarness.hello
          + frame(1, flags: 5, stream: 1, requestBlock("/", method: "GET", [line])) + getFrame(3))
      #expect(server.seen.map(\.event) == [event, "head."])
    }
    for (fields, event) in [(5, "head."), (6, "head."), (7, "too large")] {
      var server = ServerHarness(fields: 6)
      let lines = (0..<(fields - 4)).map { ("x\($0)", "y") }
      server.hear(
        ServerHarness.hello + frame(1, flags: 5, stream: 1, requestBlock("/", method: "GET", lines))
          + getFrame(3))
      #expect(server.seen.map(\.event) == [event, "head."])
    }
  }

  @Test(
    "A window that opens is told once: a stream's, the connection's, and that of all by a setting")
  func openings() {
    var server = ServerHarness()
    server.hear(preface + frame(4, [0, 4] + number(10)) + getFrame(1))
    let stream = server.places[1]!
    #expect(server.session.window(stream) == 10)
    server.session.takeWindow(stream, 10)
    server.hear(frame(8, stream: 1, number(5)))
    #expect(server.seen.last == ServerHarness.Seen(event: "window", id: 1))
    server.hear(frame(8, stream: 1, number(5)))
    #expect(server.seen.filter { $0.event == "window" }.count == 1)
    // A setting may take more than there is (RFC 9113 6.9.2).
    server.hear(frame(4, [0, 4] + number(0)))
    #expect(server.session.window(stream) == 0)
    server.session.takeWindow(stream, 0)
    server.hear(frame(4, [0, 4] + number(20)))
    #expect(server.seen.last == ServerHarness.Seen(event: "window", id: 0))
    #expect(server.session.window(stream) == 20)
  }

  @Test("A larger window is used from its acknowledgement on, a smaller one at once")
  func acknowledgedWindows() {
    var server = ServerHarness()
    server.hear(ServerHarness.hello + getFrame(1))
    server.output = []
    server.writes = false
    let stream = server.places[1]!
    func announce(_ window: Int) { server.hear(frame(4, [0, 4] + number(UInt32(window)))) }
    func open(_ id: UInt32) -> Int {
      server.hear(getFrame(id))
      return server.session.window(server.places[id]!)
    }
    announce(70_000)
    var isPending = server.session.hasPendingWindowIncrease
    #expect(isPending)
    #expect(server.session.window(stream) == 65_535 && open(3) == 65_535)
    // Of several only the last one counts, and only with the last acknowledgement.
    announce(30_000)
    #expect(server.session.window(stream) == 30_000 && open(5) == 30_000)
    announce(40_000)
    #expect(server.session.window(stream) == 30_000 && open(7) == 30_000)
    #expect(server.seen.allSatisfy { $0.event != "window" })
    withUnsafeTemporaryAllocation(byteCount: 17, alignment: 8) { room in
      for written in 1...3 {
        #expect(server.session.writeControl(into: room) == 9)
        for id: UInt32 in [1, 3, 5, 7] {
          let window = server.session.window(server.places[id]!)
          #expect(window == (written < 3 ? 30_000 : 40_000))
        }
        #expect(server.session.takeOpenedWindows() == (written == 3))
      }
    }
    isPending = server.session.hasPendingWindowIncrease
    #expect(!isPending && !server.session.takeOpenedWindows())
    #expect(open(9) == 40_000)
  }

  @Test("A window that an acknowledgement opens counts against the largest before that")
  func largestWindows() {
    let most = 0x7FFF_FFFF
    for (more, code) in [(0, nil), (1, UInt32(3))] {
      var server = ServerHarness()
      server.hear(ServerHarness.hello + getFrame(1) + getFrame(3))
      server.writes = false
      server.hear(frame(4, [0, 4] + number(UInt32(most - 1_000))))
      server.hear(frame(8, stream: 1, number(UInt32(1_000 + more))))
      server.say()
      #expect(server.resetCode(1) == code)
      #expect(server.goAwayCode == nil)
      server.hear(frame(4, [0, 4] + number(UInt32(most - 1_000 + 1))))
      server.say()
      // The one that was reset is no stream any more.
      #expect(server.goAwayCode == (more == 0 ? 3 : nil))
    }
  }

  @Test("Urgency and kind of a response come from its head and from PRIORITY_UPDATE")
  func priorities() {
    var server = ServerHarness()
    server.hear(
      ServerHarness.hello
        + frame(
          1, flags: 5, stream: 1,
          requestBlock("/", method: "GET", [("priority", "u=1, i")]))
        + getFrame(3))
    #expect(server.session.priority(server.places[1]!).urgency == 1)
    #expect(server.session.priority(server.places[1]!).isIncremental)
    #expect(server.session.priority(server.places[3]!) == Priority())
    server.hear(frame(16, number(3) + Array("u=0;x=2,i=?1".utf8)))
    #expect(server.session.priority(server.places[3]!).urgency == 0)
    #expect(server.session.priority(server.places[3]!).isIncremental)
    for text in ["u=8", "u=", "u", "i=?0", "", ",,;", "u=-1", "u=12", "ui"] {
      Array(text.utf8).withUnsafeBytes { #expect(Priority($0) == Priority(), "\(text)") }
    }
  }

  @Test("What is still to come of a frame is not the next stream's in the place of its own")
  func restOfAFrame() {
    var options = HTTP2EndpointOptions()
    options.side = .client
    var client = ServerHarness(options)
    client.hear(frame(4))
    let first = client.session.openStream(1)!
    let head = MalformedInputTests.fields([(":status", "200")])
    let data = frame(0, flags: 1, stream: 1, [UInt8](repeating: 7, count: 100))
    client.hear(frame(1, flags: 4, stream: 1, head) + data.prefix(50))
    #expect(client.content[1]?.count == 41)
    client.session.reset(first, .cancel)
    #expect(client.session.openStream(3) == first)
    let count = client.seen.count
    client.hear(Array(data.dropFirst(50)))
    #expect(client.seen.count == count && client.content[3] == nil)
    client.hear(frame(1, flags: 5, stream: 3, head))
    #expect(client.seen.last?.event == "head." && client.seen.last?.id == 3)
  }

  @Test(
    "As many streams as there may be, one number after the other, are found whatever order they end in"
  )
  func fullTable() {
    for capacity in [1, 2, 3, 100, 128, 4096] {
      for stride in [1, capacity - 1, capacity / 2 + 1] where stride > 0 {
        var streams = StreamTable(capacity: capacity)
        var open: [(id: UInt32, place: Int)] = []
        var next: UInt32 = 1
        for _ in 0..<(3 * capacity) {
          if open.count == capacity {
            check(streams.open(next, sendWindow: 1, receiveWindow: 1) == nil)
            let ended = open.remove(at: stride % capacity)
            streams.close(ended.place, .byPeer)
            check(streams.find(ended.id) == nil)
          }
          guard let place = streams.open(next, sendWindow: 1, receiveWindow: 1) else {
            Issue.record("no room for stream \(next) of \(capacity)")
            return
          }
          open.append((next, place))
          next += 2
        }
        for each in open { check(streams.find(each.id) == each.place) }
        for id in [open[0].id &- 2, next] where !open.contains(where: { $0.id == id }) {
          check(streams.find(id) == nil)
        }
      }
    }
  }

  @Test("Records of streams are found whatever was opened and closed before")
  func table() {
    var random = SystemRandomNumberGenerator()
    for capacity in [1, 2, 3, 100, 128] {
      var streams = StreamTable(capacity: capacity)
      var model: [UInt32: Int] = [:]
      var id: UInt32 = 1
      for _ in 0..<2_000 {
        if Bool.random(using: &random), let (old, place) = model.randomElement(using: &random) {
          check(streams.find(old) == place)
          streams.close(place, .byPeer)
          model[old] = nil
          check(streams.find(old) == nil)
          check(streams.end(of: old) == .byPeer)
        } else {
          id += UInt32.random(in: 1...40, using: &random) * 2
          let place = streams.open(id, sendWindow: 1, receiveWindow: 1)
          check((place == nil) == (model.count == capacity))
          if let place { model[id] = place }
        }
        for (id, place) in model { check(streams.find(id) == place) }
        check(streams.inUse == model.count)
      }
    }
  }
}
