import HTTP
import HTTP1
import Testing

private func body(_ string: String) -> Body { decode(Array(string.utf8)) }

/// Chunked messages, whole and broken, on which every way of cutting must give one answer.
let chunkedSamples: [String] = [
  "0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\nNEXT",
  "a\r\n0123456789\r\n00B;a=b\r\n0123456789a\r\n000\r\n\r\nX",
  "1;q=\"a\\\"b\" ; c ;d= e\r\nx\r\n0;last\r\nA: b\r\nX-Sum:  1 \r\n\r\nNEXT",
  "5\r\nhell", "5\r\nhelloX",
  "5\r\nhello\rX", "5\r\nhello\n", "5\nhello", "5 \r\nhello\r\n", "0\r\nA: b\nC: d\r\n\r\n",
  "0\r\n\rX", "0\r\n\n", "0\r\nA : b\r\n\r\n",
  "0\r\nHost: b\r\nOK: 1\r\nTransfer-Encoding: x\r\n\r\nZ",
  "10000000000000000\r\n", "8000000000000000\r\n", "g\r\n", ";a\r\n", "1;\r\nx", "1;a=\r\nx",
  "1;a\u{01}\r\n", "0\r\n A: b\r\n\r\n", "0\r\nA: b\r\n c\r\n\r\n", "0\r\nA: b\rc\r\n\r\n",
]

@Suite struct BodyDecoderTests {
  @Test(arguments: chunkedSamples)
  func everySplitGivesWhatTheWholeGives(sample: String) {
    let bytes = Array(sample.utf8)
    let whole = decode(bytes)
    for first in 0...bytes.count {
      for second in first...bytes.count {
        let cut = decode(bytes, cuts: [first, second])
        // Where a rejection is found, what was consumed before it may differ inside a trailer.
        let same =
          cut.content == whole.content && cut.end == whole.end && cut.trailers == whole.trailers
          && (whole.end != .complete || cut.consumed == whole.consumed)
        if !same { Issue.record("cuts at \(first) and \(second): \(cut) for \(whole)") }
      }
    }
    #expect(decode(bytes, cuts: Array(0...bytes.count)).end == whole.end)
  }

  @Test func contentAndTheEndOfChunkedMessages() {
    #expect(
      body("5\r\nhello\r\n0\r\n\r\nNEXT")
        == Body(content: Array("hello".utf8), end: .complete, consumed: 15))
    #expect(body("0\r\n\r\n") == Body(end: .complete, consumed: 5))
    #expect(body("0000000000000001\r\nx\r\n0000000000000000\r\n\r\n").content == [0x78])
    #expect(body("aF\r\n").end == .open)
  }

  @Test func contentStepsAreAsLongAsThePiece() {
    var decoder = BodyDecoder(.chunked)
    withExactBytes(Array("8\r\n01234567\r\n".utf8)) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .content(start: 3, count: 8))
      #expect(offset == 11)
      #expect(decoder.next(raw, at: &offset) == .needsMore)
      #expect(offset == 13)
    }
  }

  @Test(
    arguments: [
      ("\r\n", .invalidChunkSize), ("g\r\n", .invalidChunkSize), ("0x5\r\n", .invalidChunkSize),
      ("-1\r\n", .invalidChunkSize), ("+1\r\n", .invalidChunkSize), (" 5\r\n", .invalidChunkSize),
      ("5_0\r\n", .invalidChunkSize), ("5,\r\n", .invalidChunkSize), ("\0", .invalidChunkSize),
      (";a\r\n", .invalidChunkSize), ("５\r\n", .invalidChunkSize), ("1.\r\n", .invalidChunkSize),
      ("5\n", .bareLF), ("\n", .bareLF), ("5\r5", .bareCR), ("5\r\r\n", .bareCR),
      ("7fffffffffffffff0\r\n", .chunkSizeOverflow), ("8000000000000000\r\n", .chunkSizeOverflow),
      ("ffffffffffffffff\r\n", .chunkSizeOverflow), ("00000000000000005\r\n", .chunkSizeOverflow),
      ("1\r\nxy", .missingChunkEnd), ("1\r\nx0\r\n", .missingChunkEnd), ("1\r\nx\n", .bareLF),
      ("1\r\nx\rx", .bareCR), ("1\r\nx\r\r", .bareCR), ("1\r\nx\r\n\r\n", .invalidChunkSize),
      ("5 \r\n", .invalidChunkExtension), ("5\t\r\n", .invalidChunkExtension),
      ("5;\r\n", .invalidChunkExtension), ("5;a=\r\n", .invalidChunkExtension),
      ("5;=b\r\n", .invalidChunkExtension), ("5;a b\r\n", .invalidChunkExtension),
      ("5 a\r\n", .invalidChunkExtension), ("5;a=\"b\r\n", .invalidChunkExtension),
      ("5;a=\"b\n\"", .invalidChunkExtension), ("5;a=\"\\\r\n", .invalidChunkExtension),
      ("5;a=\"b\"c\r\n", .invalidChunkExtension), ("5;a\0\r\n", .invalidChunkExtension),
      ("5;a=\"\u{7F}\"", .invalidChunkExtension), ("5;é\r\n", .invalidChunkExtension),
      ("5;a ;\r\n", .invalidChunkExtension),
      ("5;a \r\n", .invalidChunkExtension),
      ("5;a=b \r\n", .invalidChunkExtension), ("5;a=\"b\"\t\r\n", .invalidChunkExtension),
      ("5;a\n", .bareLF), ("5;\n", .bareLF),
      ("5;a\rX", .bareCR), ("5;a=b\r\r\n", .bareCR), ("5;a=b=c\r\n", .invalidChunkExtension),
      ("0\r\n\n", .bareLF), ("0\r\n\rX", .bareCR), ("0\r\nA: b\n\r\n", .bareLF),
      ("0\r\nA: b\rc", .bareCR), ("0\r\nA\r\n\r\n", .invalidTrailer),
      ("0\r\nA : b\r\n\r\n", .invalidTrailer), ("0\r\n: b\r\n\r\n", .invalidTrailer),
      ("0\r\n A: b\r\n\r\n", .invalidTrailer), ("0\r\nA: b\r\n c\r\n\r\n", .invalidTrailer),
      ("0\r\nA: \0\r\n\r\n", .invalidTrailer), ("0\r\nGET / HTTP/1.1\r\n\r\n", .invalidTrailer),
    ] as [(String, BodyRejection)])
  func framingOutsideTheGrammar(string: String, rejection: BodyRejection) {
    #expect(body(string).end == .rejected(rejection))
  }

  @Test func theLargestChunkSizeIsTaken() {
    let result = body("7fffffffffffffff\r\nabc")
    #expect(result.content == Array("abc".utf8))
    #expect(result.end == .open)
  }

  @Test(arguments: [
    "5;a", "5;a=b", "5;a=\"b\"", "5 ;\ta = b", "5;a;b;c=d", "5;a=\"; \\\" \\\\ \t é\"", "5;a=\"\"",
  ])
  func extensionsWithinTheGrammarAreSkipped(line: String) {
    let result = body("\(line)\r\nhello\r\n0\r\n\r\n")
    #expect(result.end == .complete)
    #expect(result.content == Array("hello".utf8))
  }

  @Test func extensionsOfOneChunkAreBounded() {
    for (count, passes) in [(255, true), (256, true), (257, false)] {
      let line = "1;" + String(repeating: "a", count: count - 1)
      let result = body("\(line)\r\nx\r\n0\r\n\r\n")
      #expect(result.end == (passes ? .complete : .rejected(.chunkExtensionTooLarge)))
    }
  }

  @Test func extensionsMustBePaidForWithContent() {
    // 255 bytes owed by each chunk of 1 byte with 256 of extensions: 64 chunks make 16,320.
    let chunk = "1;" + String(repeating: "a", count: 255) + "\r\nx\r\n"
    #expect(body(String(repeating: chunk, count: 64)).end == .open)
    #expect(body(String(repeating: chunk, count: 65)).end == .rejected(.chunkExtensionTooLarge))
    // Signed chunks of real size go on for ever.
    let signed =
      "100;s=" + String(repeating: "a", count: 85) + "\r\n"
      + String(repeating: "x", count: 256) + "\r\n"
    #expect(body(String(repeating: signed, count: 500)).content.count == 128_000)
  }

  @Test func aLengthIsTakenExactly() {
    for length in 0...6 {
      let result = decode(Array("hello".utf8), .length(UInt64(length)))
      #expect(result.content.count == min(length, 5))
      #expect(result.consumed == min(length, 5))
      #expect(result.end == (length <= 5 ? .complete : .open))
    }
    for cut in 0...5 {
      #expect(decode(Array("hello".utf8), .length(4), cuts: [cut]).consumed == 4)
    }
  }

  @Test func aMessageWithoutContentTakesNothing() {
    #expect(decode(Array("NEXT".utf8), .none) == Body(end: .complete))
    #expect(decode(Array("NEXT".utf8), .length(0)) == Body(end: .complete))
  }

  @Test func whatIsLeftIsKnownWithALength() {
    var decoder = BodyDecoder(.length(5))
    #expect(decoder.remainingContentLength == 5)
    withExactBytes([1, 2, 3]) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .content(start: 0, count: 3))
      #expect(decoder.next(raw, at: &offset) == .needsMore)
    }
    #expect(decoder.remainingContentLength == 2)
    #expect(decoder.isComplete == false)
    let cutShort = decoder.endOfInput()
    #expect(!cutShort)
    withExactBytes([4, 5, 6]) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .content(start: 0, count: 2))
      #expect(decoder.isComplete == true)
      #expect(decoder.next(raw, at: &offset) == .complete)
      #expect(offset == 2)
    }
    #expect(decoder.remainingContentLength == 0)
    let whole = decoder.endOfInput()
    #expect(whole)
    let chunked = BodyDecoder(.chunked)
    #expect(chunked.remainingContentLength == nil)
  }

  @Test func theEndOfInputCompletesOnlyWhatEndsWithTheConnection() {
    var close = BodyDecoder(.untilClose)
    withExactBytes([1, 2]) { raw in
      var offset = 0
      #expect(close.next(raw, at: &offset) == .content(start: 0, count: 2))
      #expect(close.next(raw, at: &offset) == .needsMore)
    }
    #expect(close.isComplete == false)
    #expect(close.remainingContentLength == nil)
    let closed = close.endOfInput()
    #expect(closed)
    #expect(close.isComplete == true)

    let message = Array("3\r\nabc\r\n0\r\nA: b\r\n\r\n".utf8)
    for count in 0...message.count {
      var chunked = BodyDecoder(.chunked)
      withExactBytes(Array(message[..<count])) { raw in
        var offset = 0
        while case .content = chunked.next(raw, at: &offset) {}
      }
      let complete = chunked.endOfInput()
      #expect(complete == (count == message.count), "\(count)")
    }
    var none = BodyDecoder(.none)
    let empty = none.endOfInput()
    #expect(empty)
  }

  @Test func aRefusedMessageStaysRefusedAndTakesNoMore() {
    var decoder = BodyDecoder(.chunked)
    withExactBytes(Array("x5\r\nhello\r\n0\r\n\r\n".utf8)) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .rejected(.invalidChunkSize))
      let stopped = offset
      #expect(decoder.next(raw, at: &offset) == .rejected(.invalidChunkSize))
      #expect(offset == stopped)
    }
    let complete = decoder.endOfInput()
    #expect(!complete)
    #expect(decoder.isComplete == false)
  }

  @Test func everyRejectionHasItsStatusAndALabelOfItsOwn() {
    #expect(BodyRejection.allCases.filter { $0.status != 400 } == [.trailerTooLarge])
    #expect(BodyRejection.trailerTooLarge.status == 431)
    let labels = Set(BodyRejection.allCases.map { String(describing: $0.label) })
    #expect(labels.count == BodyRejection.allCases.count)
    #expect(labels.isDisjoint(with: HeadRejection.allCases.map { String(describing: $0.label) }))
  }
}

@Suite struct TrailerTests {
  @Test func trailersAreKeptInOrderWithoutSurroundingSpace() {
    let result = body("0\r\nX-A:1\r\nx-b: \t 2 \r\nX-C:\r\nX-A: 3\r\n\r\nNEXT")
    #expect(result.end == .complete)
    #expect(result.trailers == ["X-A: 1", "x-b: 2", "X-C: ", "X-A: 3"])
    #expect(result.consumed == 37)
  }

  @Test(arguments: [
    "Content-Length", "transfer-encoding", "HOST", "Connection", "Keep-Alive", "TE", "Trailer",
    "Upgrade", "Via", "Forwarded", "X-Forwarded-For", "X-Real-IP", "Authorization", "Cookie",
    "Set-Cookie", "WWW-Authenticate", "Proxy-Authorization", "Proxy-Authenticate", "Content-Type",
    "Content-Encoding", "Content-Range", "Cache-Control", "Expect", "Max-Forwards", "Range",
    "If-Match", "Location", "Date", "Age", "Vary", "Proxy-Connection",
  ])
  func fieldsThatFrameRouteOrAuthenticateAreDropped(name: String) {
    let result = body("0\r\nA: 1\r\n\(name): 5\r\nB: 2\r\n\r\n")
    #expect(result.end == .complete)
    #expect(result.trailers == ["A: 1", "B: 2"])
  }

  @Test func nothingIsShownBeforeTheMessageIsComplete() {
    var decoder = BodyDecoder(.chunked)
    withExactBytes(Array("0\r\nA: 1\r\n\r".utf8)) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .needsMore)
      #expect(offset == raw.count)
    }
    #expect(decoder.hasTrailers == false)
    #expect(decoder.trailerCount == 0)
    withExactBytes(Array("\nX".utf8)) { raw in
      var offset = 0
      #expect(decoder.next(raw, at: &offset) == .complete)
      #expect(offset == 1)
    }
    #expect(decoder.hasTrailers == true)
    #expect(decoder.trailerCount == 1)
  }

  @Test func bytesAtTheLimitAndOneOff() {
    let section = "A: 123456\r\nBB: 7\r\n\r\n"
    let count = section.utf8.count
    for (limit, passes) in [(count - 1, false), (count, true), (count + 1, true), (0, false)] {
      let limits = HeadLimits(headBytes: limit, fields: 9)
      let expected: Body.End = passes ? .complete : .rejected(.trailerTooLarge)
      for tail in ["", "GET / HTTP/1.1\r\n"] {
        let bytes = Array(("0\r\n" + section + tail).utf8)
        #expect(decode(bytes, limits: limits).end == expected, "\(limit)")
        #expect(decode(bytes, cuts: Array(0...bytes.count), limits: limits).end == expected)
      }
    }
  }

  @Test func linesAtTheLimitAndOneOff() {
    for (fields, passes) in [(1, false), (2, true), (3, true), (0, false)] {
      let limits = HeadLimits(headBytes: 100, fields: fields)
      let result = decode(Array("0\r\nA: 1\r\nHost: 2\r\n\r\n".utf8), limits: limits)
      #expect(result.end == (passes ? .complete : .rejected(.trailerTooLarge)))
      #expect(result.trailers == (passes ? ["A: 1"] : []))
    }
    #expect(
      decode(Array("0\r\n\r\n".utf8), limits: HeadLimits(headBytes: 0, fields: 0)).end
        == .complete)
  }

  @Test func aSectionThatGrowsPastItsFirstMemoryIsWhole() {
    let lines = (0..<30).map { "X-\($0): " + String(repeating: "v", count: 200) }
    let bytes = Array(("0\r\n" + lines.joined(separator: "\r\n") + "\r\n\r\nN").utf8)
    for step in [1, 7, 300, 511, 512, 513, 10_000] {
      let cuts = Array(stride(from: step, to: bytes.count, by: step))
      let result = decode(bytes, cuts: cuts)
      #expect(result.trailers == lines)
      #expect(result.consumed == bytes.count - 1)
    }
  }
}
