// What may not be forwarded by its name, in heads and trailers, and what a head says to
// intermediaries.

import HTTP
import Testing

@testable import HTTP1

@Suite struct UntrustedNameTests {
  private func recognise(_ name: String) -> FieldName {
    withExactBytes(Array(name.utf8)) { FieldName($0.baseAddress!, $0.count) }
  }

  @Test(arguments: [
    "X-Forwarded", "X-Forwarded-Prefix", "x-forwarded-server", "X-FORWARDED-SSL", "X-Forwarded-",
    "X-Forwarded-User", "X-Forwarded-Client-Cert", "X-Forwarded-For-", "X-Forwarded-A1",
    "X-Forwarded-Preferred-Username", "X-Client-IP", "Client-IP", "TRUE-CLIENT-IP",
    "X-Cluster-Client-IP", "X-Original-URL", "X-Rewrite-URL", "Proxy", "pROXY",
  ])
  func aProxysWordIsUntrusted(name: String) {
    #expect(recognise(name) == .untrusted)
  }

  @Test(arguments: [
    "X_Forwarded_For", "X-Forwarded_For", "x_forwarded-for", "X_Forwarded_Proto", "X_Real_IP",
    "X_Forwarded_Host", "X_Forwarded_Port", "X_Forwarded", "X_Forwarded_Prefix", "X-Forwarded-A_B",
    "Content_Length", "CONTENT_LENGTH", "Transfer_Encoding", "Max_Forwards", "True_Client-IP",
    "X_Original_URL", "Client_IP", "X_Rewrite_URL", "X_Cluster_Client_IP", "X_Client_IP",
  ])
  func aSpellingOfAnotherNameIsAmbiguous(name: String) {
    #expect(recognise(name) == .ambiguous)
  }

  @Test func everyTokenByteThatIsNoLetterOrDigitIsASeparator() {
    for byte in UInt8.min...UInt8.max where ByteClass.table[Int(byte)] & ByteClass.token != 0 {
      let character = String(UnicodeScalar(byte))
      let isAlphanumeric = character.first!.isLetter || character.first!.isNumber
      let name = recognise("X\(character)Real-IP")
      #expect(name == (byte == 0x2D ? .xRealIP : isAlphanumeric ? .other : .ambiguous))
      let forwarded = recognise("X-Forwarded\(character)For")
      #expect(forwarded == (byte == 0x2D ? .xForwardedFor : isAlphanumeric ? .other : .ambiguous))
    }
  }

  @Test(arguments: [
    "api_key", "X_Api_Key", "X-ForwardedFor", "XForwarded", "X-Forwarde", "X--Forwarded-For",
    "X-Real-IPs", "X-Real-I", "Content_Type", "Proxys", "Prox", "X-Requested-With", "_", "x", "X-",
    "X-Client-IPs", "Content-Lengths", "XX-Forwarded-For", "Cf-Connecting-Ip", "Priority", "_Proxy",
  ])
  func otherNamesAreOther(name: String) {
    #expect(recognise(name) == .other)
  }

  @Test func neitherEndsUpInTrailers() {
    #expect(FieldSet.forbiddenInTrailers.isSuperset(of: [.untrusted, .ambiguous]))
  }
}

@Suite struct AmbiguousFieldTests {
  private func forwarded(_ lines: String, underscores: Bool) -> (text: String, found: Int) {
    var head = RequestHead(fieldCapacity: 16)
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n".utf8)
    return withExactBytes(bytes) { raw in
      guard case .complete = head.parse(raw, limits: HeadLimits()) else { return ("", -1) }
      let found = head.markAmbiguousFields(in: raw, underscores: underscores)
      var memory = [UInt8](repeating: 0, count: 1024)
      let count = memory.withUnsafeMutableBytes { room in
        var writer = HeadWriter(room)
        writer.endToEndFields(of: head.view(in: raw), except: [.ambiguous, .untrusted])
        return writer.count
      }
      return (String(decoding: memory[..<count], as: UTF8.self), found)
    }
  }

  @Test func theyAreCountedAndLeftOut() {
    let lines = "X_Forwarded_For: 1\r\napi_key: 2\r\nX-Forwarded-User: 3\r\nB: 4\r\n"
    let passed = forwarded(lines, underscores: false)
    #expect(passed == ("Host: a\r\napi_key: 2\r\nB: 4\r\n", 1))
    let dropped = forwarded(lines, underscores: true)
    #expect(dropped == ("Host: a\r\nB: 4\r\n", 2))
  }
}

@Suite struct TrailerRuleTests {
  /// Tells the decoder what a Connection line with this value nominates.
  private func nominate(_ value: String, _ decoder: inout BodyDecoder) {
    var head = RequestHead(fieldCapacity: 4)
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nConnection: \(value)\r\n\r\n".utf8)
    withExactBytes(bytes) { raw in
      _ = head.parse(raw, limits: HeadLimits())
      if let names = head.nominatedNames(in: raw) { decoder.leaveOutTrailers(named: names) }
    }
  }

  private func trailers(
    _ lines: String, connection: String? = nil, underscores: Bool = false
  ) -> (kept: [String], ambiguous: Int) {
    var decoder = BodyDecoder(.chunked)
    if let connection { nominate(connection, &decoder) }
    if underscores { decoder.leaveOutTrailersWithUnderscores() }
    return withExactBytes(Array("0\r\n\(lines)\r\n".utf8)) { raw in
      var offset = 0
      guard decoder.next(raw, at: &offset) == .complete else { return (["broken"], -1) }
      let kept = (0..<decoder.trailerCount).map { index in
        String(decoding: decoder.trailer(index).name, as: UTF8.self)
      }
      return (kept, decoder.ambiguousTrailers)
    }
  }

  @Test func nominatedNamesAreLeftOut() {
    let lines = "A: 1\r\nX-B: 2\r\nETag: 3\r\nx-b: 4\r\nX-C: 5\r\n"
    #expect(trailers(lines).kept == ["A", "X-B", "ETag", "x-b", "X-C"])
    #expect(trailers(lines, connection: "close, x-b , etag").kept == ["A", "X-C"])
    #expect(trailers(lines, connection: "x-bb, x").kept == ["A", "X-B", "ETag", "x-b", "X-C"])
  }

  @Test func namesPastTheBoundMakeEveryUnrecognisedLineNominated() {
    // Each name takes one byte more than its length.
    let full = (0..<8).map { _ in String(repeating: "n", count: 127) }
    for (last, isPartial) in [(126, false), (127, false), (128, true)] {
      let list = (full.dropLast() + [String(repeating: "m", count: last)]).joined(separator: ",")
      let kept = trailers("A: 1\r\nETag: 2\r\n", connection: list).kept
      #expect(kept == (isPartial ? ["ETag"] : ["A", "ETag"]))
    }
    for (count, isPartial) in [(254, false), (255, false), (256, true)] {
      let kept = trailers("A: 1\r\n", connection: String(repeating: "n", count: count)).kept
      #expect(kept == (isPartial ? [] : ["A"]))
    }
  }

  @Test func ambiguousNamesAreCounted() {
    let lines = "X_Real_IP: 1\r\nmy_sum: 2\r\nX-Forwarded-User: 3\r\nHost: 4\r\nA: 5\r\n"
    let passed = trailers(lines)
    #expect(passed.kept == ["my_sum", "A"] && passed.ambiguous == 1)
    let dropped = trailers(lines, underscores: true)
    #expect(dropped.kept == ["A"] && dropped.ambiguous == 2)
  }

  @Test(arguments: [
    ("", false), ("Connection: close\r\n", false), ("Connection: keep-alive, TE\r\n", false),
    ("Connection: Upgrade, HTTP2-Settings\r\n", false), ("Connection: host\r\n", false),
    ("Connection: x-a\r\n", true), ("Connection: etag\r\n", true), ("Connection: date\r\n", false),
  ])
  func onlyWhatCouldStandInATrailerIsKept(line: String, nominates: Bool) {
    var head = RequestHead(fieldCapacity: 4)
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\(line)\r\n".utf8)
    withExactBytes(bytes) { _ = head.parse($0, limits: HeadLimits()) }
    #expect(head.nominatesFields == nominates)
  }

  @Test(arguments: ["5 ", "5\t \t", "5;a=b ", "5;a ", "5 ;a=\"b\"\t"])
  func paddingIsToleratedWhereAsked(size: String) {
    for tolerates in [false, true] {
      var decoder = BodyDecoder(.chunked, toleratesPadding: tolerates)
      withExactBytes(Array("\(size)\r\nhello\r\n0\r\n\r\n".utf8)) { raw in
        var offset = 0
        let step = decoder.next(raw, at: &offset)
        if tolerates {
          #expect(step == .content(start: size.utf8.count + 2, count: 5))
          #expect(decoder.next(raw, at: &offset) == .complete)
        } else {
          #expect(step == .rejected(.invalidChunkExtension))
        }
      }
    }
  }

  @Test(arguments: [" 5\r\n", "5 0\r\n", "5 5 \r\n", "5;\r\n", "5; \r\n", "5;a= \r\n", " \r\n"])
  func paddingIsNothingElse(size: String) {
    var decoder = BodyDecoder(.chunked, toleratesPadding: true)
    withExactBytes(Array("\(size)hello\r\n0\r\n\r\n".utf8)) { raw in
      var offset = 0
      guard case .rejected = decoder.next(raw, at: &offset) else {
        Issue.record("\(size) was taken")
        return
      }
    }
  }

  @Test func paddingIsBounded() {
    for (count, passes) in [(255, true), (256, true), (257, false)] {
      var decoder = BodyDecoder(.chunked, toleratesPadding: true)
      let bytes = Array(("1" + String(repeating: " ", count: count) + "\r\nx\r\n").utf8)
      withExactBytes(bytes) { raw in
        var offset = 0
        let step = decoder.next(raw, at: &offset)
        #expect((step == .rejected(.chunkExtensionTooLarge)) != passes)
      }
    }
  }
}

@Suite struct IntermediaryFieldTests {
  private func withHead<R>(
    _ lines: String, _ body: (RequestView) -> R
  )
    -> R
  {
    var head = RequestHead(fieldCapacity: 32)
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n".utf8)
    return withExactBytes(bytes) { raw in
      let outcome = head.parse(raw, limits: HeadLimits())
      #expect(outcome == .complete(length: bytes.count))
      return body(head.view(in: raw))
    }
  }

  @Test(
    arguments: [
      ("0", 0), ("00", 0), ("1", 1), ("4294967294", 4_294_967_294), ("4294967295", 4_294_967_295),
      ("4294967296", 4_294_967_295), ("99999999999999999999999999", 4_294_967_295), ("", nil),
      ("-1", nil), ("1 2", nil), ("0x1", nil), ("1.", nil), ("one", nil),
    ] as [(String, UInt32?)])
  func maxForwards(text: String, value: UInt32?) {
    let read = withHead("Max-Forwards: \(text)\r\n") { $0.maxForwards }
    #expect(read == value)
    #expect(withHead("A: \(text)\r\n") { $0.maxForwards } == nil)
  }

  @Test(arguments: [
    ("Via: 1.1 me", 1), ("Via: HTTP/1.1 ME (us, 1.1 me)", 1), ("Via: 1.0 me (a, 1.1 me b)", 2),
    ("Via: 1.1 me, 1.0 you, 1.1 Me", 2),
    ("Via: 1.1  me\r\nVia:\t1.1\tme", 2), ("Via: 1.1 mean", 0), ("Via: me", 0), ("Via: 1.1", 0),
    ("Via: 1.1 you me", 0), ("Via:", 0), ("Via: , ,", 0), ("Vial: 1.1 me", 0),
  ])
  func ownMembersOfVia(lines: String, count: Int) {
    let found = withHead(lines + "\r\n") { head in
      Array("me".utf8).withUnsafeBytes { head.viaCount(of: $0) }
    }
    #expect(found == count)
  }

  @Test(arguments: [
    ("Connection: Upgrade\r\nUpgrade: websocket", true),
    ("Connection: upgrade\r\nUpgrade: h2c, WebSocket/13", true),
    ("Connection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket", true),
    ("Connection: upgrade\r\nUpgrade: websockets", false),
    ("Connection: upgrade\r\nUpgrade: websocke", false),
    ("Connection: close\r\nUpgrade: websocket", false), ("Connection: upgrade", false),
  ])
  func offersOfWebSocket(lines: String, offers: Bool) {
    #expect(withHead(lines + "\r\n") { $0.offersWebSocket } == offers)
  }

  @Test(arguments: [
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HeadRejection.http2Preface),
    ("PRI * HTTP/2.0\r\n", .http2Preface), ("\r\nPRI * HTTP/2.0\r\n", .http2Preface),
    ("PRI * HTTP/2.1\r\n", .unsupportedVersion), ("PRI * HTTP/3.0\r\n", .unsupportedVersion),
    ("PRI / HTTP/2.0\r\n", .unsupportedVersion), ("PRE * HTTP/2.0\r\n", .unsupportedVersion),
    ("pri * HTTP/2.0\r\n", .unsupportedVersion), ("PRI ** HTTP/2.0\r\n", .unsupportedVersion),
    ("GET * HTTP/2.0\r\n", .unsupportedVersion), ("PRI * HTTP/2.0 \r\n", .invalidVersion),
  ])
  func thePrefaceOfHTTP2(text: String, rejection: HeadRejection) {
    #expect(parseRequest(text).outcome == .rejected(rejection))
  }

  @Test(arguments: [600, 999])
  func aStatusAbove599IsAFinalOne(status: UInt16) {
    let head = "HTTP/1.1 \(status) x\r\nContent-Length: 3\r\n\r\n"
    let (outcome, response) = parseResponse(head)
    #expect(outcome == .complete(length: head.utf8.count))
    #expect(response.status == status && response.framing == .length(3))
  }
}
