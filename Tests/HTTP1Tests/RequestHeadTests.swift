import HTTP
import HTTP1
import Testing

@Suite struct RequestHeadTests {
  @Test func everyPartOfAnOrdinaryHeadIsFound() {
    let string =
      "POST /a/b?c=d&e HTTP/1.1\r\nHost: shop.example:8443\r\nX-Thing:\t v w \t\r\n"
      + "Content-Length: 5\r\nEmpty:\r\n\r\nhello"
    let (outcome, request) = parseRequest(string)
    #expect(outcome == .complete(length: string.utf8.count - 5))
    var expected = Request()
    expected.method = .post
    expected.methodText = "POST"
    expected.target = "/a/b?c=d&e"
    expected.path = "/a/b"
    expected.query = "c=d&e"
    expected.authority = "shop.example:8443"
    expected.host = "shop.example"
    expected.port = 8443
    expected.framing = .length(5)
    expected.isPersistent = true
    expected.lines = [
      Line(name: "Host", value: "shop.example:8443", isHopByHop: false),
      Line(name: "X-Thing", value: "v w", isHopByHop: false),
      Line(name: "Content-Length", value: "5", isHopByHop: false),
      Line(name: "Empty", value: "", isHopByHop: false),
    ]
    #expect(request == expected)
  }

  @Test func aHeadLeavesNothingOfTheOneBeforeIt() {
    var head = RequestHead(fieldCapacity: 8)
    let first =
      "CONNECT h:1 HTTP/1.0\r\nHost: h:1\r\nTE: trailers\r\nConnection: keep-alive, x\r\n"
      + "X: 1\r\nContent-Length: 3\r\nUpgrade: a\r\n\r\n"
    let second = "GET / HTTP/1.1\r\nHost: b\r\nX: 1\r\n\r\n"
    for string in [first, second] {
      let bytes = Array(string.utf8)
      let (reused, fresh) = withExactBytes(bytes) { raw in
        let outcome = head.parse(raw, limits: HeadLimits())
        #expect(outcome == .complete(length: raw.count))
        let view = head.view(in: raw)
        if string == second {
          #expect(view.first(.te) == nil)
          #expect(view.first(.contentLength) == nil)
          #expect(view.presentFields == [.host, .other])
        }
        return (Request(head, raw), parseRequest(bytes).request)
      }
      #expect(reused == fresh)
    }
  }

  @Test func firstGivesTheFirstLineOfAName() {
    let bytes = Array("GET / HTTP/1.1\r\nVIA: 1\r\nHost: b\r\nvia: 2\r\n\r\n".utf8)
    var head = RequestHead(fieldCapacity: 8)
    withExactBytes(bytes) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) == .complete(length: raw.count))
      let view = head.view(in: raw)
      #expect(view.first(.via).map { text($0.value, raw) } == "1")
      #expect(view.first(.host).map { text($0.value, raw) } == "b")
      #expect(view.first(.forwarded) == nil)
    }
  }

  @Test func everyProperPrefixIsIncomplete() {
    let bytes = Array(
      ("\r\nPUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
        + "X:\r\n\r\n").utf8)
    for count in 0..<bytes.count {
      #expect(parseRequest(Array(bytes[..<count])).outcome == .incomplete, "\(count)")
    }
    #expect(parseRequest(bytes).outcome == .complete(length: bytes.count))
  }

  @Test func bytesAfterTheHeadAreNotLookedAt() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    let garbage: [UInt8] = [0, 10, 13, 255, 127]
    #expect(parseRequest(Array(head.utf8) + garbage).outcome == .complete(length: head.utf8.count))
  }

  @Test func upToTwoEmptyLinesBeforeTheRequestLineAreSkipped() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    for count in 0...2 {
      let string = String(repeating: "\r\n", count: count) + head
      let (outcome, request) = parseRequest(string)
      #expect(outcome == .complete(length: string.utf8.count))
      #expect(request.host == "a")
    }
    #expect(parseRequest("\r\n\r\n\r\n" + head).outcome == .rejected(.invalidMethod))
  }

  struct Target: Sendable {
    var line: String
    var form: TargetForm
    var path: String
    var query: String?
    var authority: String
  }

  @Test(arguments: [
    Target(line: "GET /", form: .origin, path: "/", authority: "h"),
    Target(line: "GET /?", form: .origin, path: "/", query: "", authority: "h"),
    Target(
      line: "GET //x/../y?a?b=/", form: .origin, path: "//x/../y", query: "a?b=/",
      authority: "h"),
    Target(line: "GET /a:b@c", form: .origin, path: "/a:b@c", authority: "h"),
    Target(line: "GET http://x:80/p?q", form: .absolute, path: "/p", query: "q", authority: "x:80"),
    Target(line: "GET HTTPS://x", form: .absolute, path: "", authority: "x"),
    Target(line: "GET http://x?q", form: .absolute, path: "", query: "q", authority: "x"),
    Target(line: "OPTIONS *", form: .asterisk, path: "", authority: "h"),
    Target(line: "OPTIONS http://x", form: .absolute, path: "", authority: "x"),
    Target(line: "CONNECT x:443", form: .authority, path: "", authority: "x:443"),
    Target(line: "CONNECT [::1]:443", form: .authority, path: "", authority: "[::1]:443"),
  ])
  func targetsAreTakenApartAndTheirAuthorityWinsOverHost(target: Target) {
    let (outcome, request) = parseRequest("\(target.line) HTTP/1.1\r\nHost: h\r\n\r\n")
    guard case .complete = outcome else {
      Issue.record("\(target.line): \(outcome)")
      return
    }
    #expect(request.form == target.form)
    #expect(request.path == target.path)
    #expect(request.query == target.query)
    #expect(request.authority == target.authority)
  }

  @Test(
    arguments: [
      ("a", "a", nil), ("a:", "a", nil), ("a:0", "a", 0), ("a:65535", "a", 65535),
      ("A-b_c.d~1", "A-b_c.d~1", nil), ("10.0.0.1:80", "10.0.0.1", 80), ("[::1]", "[::1]", nil),
      ("[2001:DB8::1.2.3.4]:8443", "[2001:DB8::1.2.3.4]", 8443),
    ] as [(String, String, UInt16?)])
  func hostsAreParted(value: String, host: String, port: UInt16?) {
    let (outcome, request) = parseRequest("GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n")
    #expect(outcome != .rejected(.invalidHost))
    #expect(request.authority == value)
    #expect(request.host == host)
    #expect(request.port == port)
  }

  @Test(
    arguments: [
      ("1.1", "", true), ("1.1", "Connection: close\r\n", false),
      ("1.1", "Connection: keep-alive\r\n", true), ("1.1", "Connection: x, CLOSE ,\r\n", false),
      ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false),
      ("1.1", "Connection: closed\r\n", true), ("1.1", "Proxy-Connection: close\r\n", true),
      ("1.0", "", false), ("1.0", "Connection: Keep-Alive\r\n", true),
      ("1.0", "Connection: keep-alive, close\r\n", false), ("1.9", "", true),
      ("1.0", "Keep-Alive: timeout=5\r\n", false), ("1.0", "Connection:\r\n", false),
    ])
  func persistenceFollowsVersionAndConnection(version: String, line: String, persists: Bool) {
    let (outcome, request) = parseRequest("GET / HTTP/\(version)\r\nHost: a\r\n\(line)\r\n")
    guard case .complete = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(request.isPersistent == persists)
    #expect(request.version == (version == "1.0" ? .http10 : .http11))
  }

  @Test(
    arguments: [
      ("Content-Length: 0", .length(0)), ("Content-Length: 007", .length(7)),
      ("content-LENGTH:9223372036854775807", .length(9_223_372_036_854_775_807)),
      ("Content-Length: 00000000000000000000000000000000000042", .length(42)),
      ("Transfer-Encoding: chunked", .chunked), ("TRANSFER-encoding:\t ChUnKeD\t", .chunked),
      ("X: y", .none),
    ] as [(String, BodyFraming)])
  func framingIsReadFromItsFields(line: String, framing: BodyFraming) {
    let (outcome, request) = parseRequest("POST / HTTP/1.1\r\nHost: a\r\n\(line)\r\n\r\n")
    #expect(outcome != .incomplete)
    #expect(request.framing == framing)
    #expect(request.host == "a")
  }

  @Test(
    arguments: [
      ("1.1", "Content-Length: 1\r\nExpect: 100-continue\r\n", true),
      ("1.1", "Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n", true),
      ("1.1", "Content-Length: 0\r\nExpect: 100-continue\r\n", false),
      ("1.1", "Expect: 100-continue\r\n", false),
      ("1.0", "Content-Length: 1\r\nExpect: 100-continue\r\n", false),
      ("1.1", "Content-Length: 1\r\n", false),
    ])
  func anExpectationNeedsContentAndHTTP11(version: String, lines: String, expects: Bool) {
    let (outcome, request) = parseRequest("POST / HTTP/\(version)\r\nHost: a\r\n\(lines)\r\n")
    guard case .complete = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(request.expectsContinue == expects)
  }

  @Test(
    arguments: [
      ("TE: trailers\r\n", true), ("TE: gzip;q=0.5 , Trailers\r\n", true),
      ("TE: gzip\r\nTE: trailers\r\n", true), ("TE: trailer\r\n", false),
      ("TE: xtrailers\r\n", false), ("TE:\r\n", false), ("", false),
    ])
  func trailersAreAcceptedWhereTEListsThem(line: String, accepts: Bool) {
    let (_, request) = parseRequest("GET / HTTP/1.1\r\nHost: a\r\n\(line)\r\n")
    #expect(request.host == "a")
    #expect(request.acceptsTrailers == accepts)
  }

  @Test(
    arguments: [
      ("1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", true),
      ("1.1", "Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", true),
      ("1.1", "Upgrade: websocket\r\n", false), ("1.1", "Connection: upgrade\r\n", false),
      ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", false),
    ])
  func anUpgradeNeedsBothFieldsAndHTTP11(version: String, lines: String, wants: Bool) {
    let (_, request) = parseRequest("GET / HTTP/\(version)\r\nHost: a\r\n\(lines)\r\n")
    #expect(request.host == "a")
    #expect(request.wantsUpgrade == wants)
  }

  @Test func http10NeedsNoHost() {
    let (outcome, request) = parseRequest("GET / HTTP/1.0\r\n\r\n")
    #expect(outcome == .complete(length: 18))
    #expect(request.authority == "")
    #expect(request.port == nil)
  }
}

@Suite struct HopByHopTests {
  private func hopByHop(_ lines: String) -> [String] {
    let (outcome, request) = parseRequest("GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n")
    guard case .complete = outcome else { return ["\(outcome)"] }
    return request.lines.filter(\.isHopByHop).map(\.name)
  }

  @Test func connectionSpecificFieldsNeedNoNomination() {
    let names = [
      "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Upgrade",
      "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Authentication-Info", "HTTP2-Settings",
    ]
    #expect(hopByHop(names.map { "\($0): x\r\n" }.joined()) == names)
    #expect(hopByHop("Transfer-Encoding: chunked\r\n") == ["Transfer-Encoding"])
    #expect(hopByHop("Accept: x\r\nTEE: y\r\nConnections: z\r\n") == [])
  }

  @Test func nominatedFieldsAreHopByHopWhereverTheyStand() {
    #expect(
      hopByHop("X-a: 1\r\nConnection: x-A, y\r\nY: 2\r\nX-A: 3\r\nX-ab: 4\r\n")
        == ["X-a", "Connection", "Y", "X-A"])
    #expect(hopByHop("Cookie: 1\r\nConnection: close, cookie\r\n") == ["Cookie", "Connection"])
    #expect(
      hopByHop("Connection: a\r\nA: 1\r\nB: 2\r\nConnection: ,,b ,\r\n")
        == ["Connection", "A", "B", "Connection"])
  }

  @Test(arguments: [
    "Host", "Content-Length", "Via", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Forwarded-Host", "X-Forwarded-Port", "X-Real-IP",
  ])
  func aNominationNeverRemovesWhatFramesRoutesOrAttributes(name: String) {
    let line = name == "Host" ? "" : "\(name): 1\r\n"
    #expect(hopByHop("Connection: close, \(name)\r\n\(line)") == ["Connection"])
  }

  @Test func connectionOptionsAreBounded() {
    func head(_ count: Int) -> String {
      "Connection: " + (0..<count).map { "x\($0)" }.joined(separator: ",") + "\r\n"
    }
    #expect(hopByHop(head(63)) == ["Connection"])
    #expect(hopByHop(head(64)) == ["Connection"])
    #expect(hopByHop(head(65)) == ["\(HeadOutcome.rejected(.tooManyConnectionOptions))"])
  }
}
