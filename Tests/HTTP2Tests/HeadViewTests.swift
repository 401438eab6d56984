// Heads that came by HTTP/2, read into views: the rules of RFC 9113 8.2 and 8.3, one by one.

import HTTP
import HTTP2
import Testing

private let get: [(String, String)] = [
  (":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/p?q=1"),
]

/// `get` with one field in place of that of its name, or without it.
private func replacing(_ name: String, _ value: String?) -> [(String, String)] {
  get.compactMap { $0.0 == name ? value.map { (name, $0) } : $0 }
}

private func rejection(_ fields: [(String, String)], endsStream: Bool = true) -> HTTP2HeadRejection?
{
  var head = HTTP2RequestHead(fieldCapacity: 8, targetBytes: 64)
  return withHead(fields) { head.read($0, endsStream: endsStream) }
}

private func view<R>(
  _ fields: [(String, String)], endsStream: Bool = true, _ body: (RequestView) -> R
) -> R? {
  var head = HTTP2RequestHead(fieldCapacity: 8)
  return withHead(fields) { section -> R? in
    let rejection = head.read(section, endsStream: endsStream)
    #expect(rejection == nil)
    return rejection == nil ? body(head.view(of: section)) : nil
  }
}

@Suite struct RequestViewTests {
  @Test func `a view says what the pseudo-fields said`() {
    view(get + [("accept", "*/*"), ("te", "trailers"), ("x-y", "")]) { view in
      #expect(view.method == .get && text(view.methodName) == "GET")
      #expect(view.version == .http2 && view.targetForm == .origin && view.targetIsHTTPS)
      #expect(text(view.target) == "/p?q=1" && text(view.path) == "/p" && view.hasQuery)
      #expect(text(view.query) == "q=1")
      #expect(text(view.authority) == "a.example" && text(view.host) == "a.example")
      #expect(view.port == nil && view.content == .none && view.acceptsTrailers)
      #expect(!view.offersUpgrade && !view.expectsContinue)
      #expect(view.fieldCount == 3)
      #expect(view.first(.accept).map { text(view.slice($0.value)) } == "*/*")
      #expect(view.field(1).isHopByHop && !view.field(0).isHopByHop)
    }
  }

  @Test func `Host stands in for an authority that is not there`() {
    view(replacing(":authority", nil) + [("host", "b.example:8443")]) { view in
      #expect(text(view.authority) == "b.example:8443" && text(view.host) == "b.example")
      #expect(view.port == 8443)
    }
  }

  @Test func `CONNECT has its authority for a target`() {
    view([(":method", "CONNECT"), (":authority", "h.example:443")], endsStream: false) { view in
      #expect(view.method == .connect && view.targetForm == .authority && view.port == 443)
      #expect(text(view.target) == "h.example:443" && view.path.isEmpty)
    }
  }

  @Test func `content is none, as long as the head says, or of unknown length`() {
    #expect(view(get) { $0.content } == ContentExtent.none)
    #expect(view(get, endsStream: false) { $0.content } == .unknown)
    #expect(view(get + [("content-length", "7")], endsStream: false) { $0.content } == .length(7))
    #expect(view(get + [("content-length", "0")]) { $0.content } == .length(0))
  }

  @Test func `an expectation counts where content follows`() {
    let fields = get + [("expect", "100-Continue")]
    #expect(view(fields, endsStream: false) { $0.expectsContinue } == true)
    #expect(view(fields) { $0.expectsContinue } == false)
  }

  @Test func `a head leaves nothing of the one before it`() {
    var head = HTTP2RequestHead(fieldCapacity: 8)
    let first = get + [("te", "trailers"), ("host", "a.example"), ("expect", "100-continue")]
    withHead(first) { #expect(head.read($0, endsStream: false) == nil) }
    withHead([(":method", "OPTIONS"), (":scheme", "http"), (":authority", "c"), (":path", "*")]) {
      #expect(head.read($0, endsStream: true) == nil)
      let view = head.view(of: $0)
      #expect(view.targetForm == .asterisk && !view.targetIsHTTPS && !view.hasQuery)
      #expect(!view.acceptsTrailers && !view.expectsContinue && view.fieldCount == 0)
      #expect(view.presentFields == [] && view.content == .none)
    }
  }
}

@Suite struct ExtendedConnectTests {
  private static let connect = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
    (":authority", "a.example"), (":path", "/p?q"),
  ]

  private func offer(_ fields: [(String, String)], _ name: String) -> String? {
    view(fields, endsStream: false) { view in
      withBytes(name) { view.upgrade(named: $0).map { text($0) } }
    } ?? nil
  }

  @Test func `it is an offer with the target of a GET, and without content`() {
    let fields =
      Self.connect + [("sec-websocket-key", "k"), ("te", "trailers"), ("expect", "100-continue")]
    view(fields, endsStream: false) { view in
      #expect(view.isExtendedConnect && view.offersUpgrade && view.offersWebSocket)
      #expect(view.method == .connect && view.targetForm == .origin && view.targetIsHTTPS)
      #expect(text(view.path) == "/p" && text(view.authority) == "a.example")
      #expect(view.content == .none && !view.expectsContinue)
      #expect(view.field(0).isHopByHop)
    }
    #expect(offer(Self.connect, "websocket") == "websocket")
    #expect(offer(Self.connect, "tcp") == nil)
    #expect(view(get) { $0.isExtendedConnect || $0.offersUpgrade } == false)
  }

  @Test func `it has every pseudo-field of a request`() {
    for index in [2, 4] {
      var fields = Self.connect
      fields.remove(at: index)
      #expect(rejection(fields, endsStream: false) == .missingPseudoField)
    }
    #expect(rejection(get + [(":protocol", "websocket")]) == .unknownPseudoField)
    #expect(rejection(Self.connect + [(":protocol", "a")]) == .duplicatePseudoField)
    #expect(
      rejection(Self.connect + [("content-length", "1")], endsStream: false)
        == .invalidContentLength)
    #expect(rejection(Self.connect + [("content-length", "0")], endsStream: false) == nil)
    #expect(rejection(Self.connect + [("upgrade", "a")]) == .connectionSpecificField)
  }

  @Test(arguments: ["", "a b", "a/b", "a,b", String(repeating: "p", count: 65)])
  func `its protocol is a token`(name: String) {
    var fields = Self.connect
    fields[1] = (":protocol", name)
    #expect(rejection(fields, endsStream: false) == .invalidProtocol)
  }

  @Test func `a head leaves nothing of one before it`() {
    var head = HTTP2RequestHead(fieldCapacity: 8)
    withHead(Self.connect) { #expect(head.read($0, endsStream: false) == nil) }
    withHead(get) {
      #expect(head.read($0, endsStream: true) == nil)
      #expect(!head.view(of: $0).isExtendedConnect && !head.view(of: $0).offersUpgrade)
    }
  }
}

@Suite struct RequestRuleTests {
  @Test(arguments: [
    (":method", HTTP2HeadRejection.missingPseudoField), (":scheme", .missingPseudoField),
    (":path", .missingPseudoField), (":authority", .missingAuthority),
  ])
  func `a request needs each of its pseudo-fields`(name: String, expected: HTTP2HeadRejection) {
    #expect(rejection(replacing(name, nil)) == expected)
  }

  @Test(arguments: [":method", ":scheme", ":path", ":authority"])
  func `a pseudo-field comes once`(name: String) {
    let twice = get + get.filter { $0.0 == name }
    #expect(rejection(twice) == .duplicatePseudoField)
  }

  @Test func `pseudo-fields come first and are those of a request`() {
    #expect(rejection([("a", "b")] + get) == .misplacedPseudoField)
    for name in [":status", ":protocol", ":Method", ":", ":pathx"] {
      let expected = HTTP2HeadRejection.unknownPseudoField
      #expect(rejection(get + [(name, "200")]) == expected, "\(name)")
    }
  }

  @Test(arguments: [
    (":method", "", HTTP2HeadRejection.invalidMethod), (":method", "G T", .invalidMethod),
    (":method", String(repeating: "M", count: 65), .invalidMethod),
    (":scheme", "ftp", .invalidScheme), (":scheme", "", .invalidScheme),
    (":path", "", .invalidPath), (":path", "p", .invalidPath), (":path", "*", .invalidPath),
    (":path", "/a b", .invalidPath), (":path", "/a#b", .invalidPath),
    (":path", "http://a.example/", .invalidPath), (":path", "/\u{e9}", .invalidPath),
    (":path", "/" + String(repeating: "p", count: 64), .pathTooLong),
    (":authority", "", .invalidAuthority), (":authority", "u@a.example", .invalidAuthority),
    (":authority", "a.example:70000", .invalidAuthority), (":authority", "a/b", .invalidAuthority),
    (":authority", " a", .invalidFieldValue), (":path", "/\u{0}", .invalidFieldValue),
  ])
  func `a pseudo-field has a value that is one`(
    name: String, value: String, expected: HTTP2HeadRejection
  ) {
    #expect(rejection(replacing(name, value)) == expected)
  }

  @Test func `the longest path and method pass`() {
    #expect(rejection(replacing(":path", "/" + String(repeating: "p", count: 63))) == nil)
    #expect(rejection(replacing(":method", String(repeating: "M", count: 64))) == nil)
  }

  @Test(arguments: [
    ("a.example", true), ("A.EXAMPLE", true), ("a.example:443", true), ("a.example:80", false),
    ("b.example", false), ("a.example.", false),
  ])
  func `Host may only say what the authority says`(host: String, passes: Bool) {
    #expect(rejection(get + [("host", host)]) == (passes ? nil : .contradictingHost))
  }

  @Test func `Host comes once and is a host`() {
    #expect(rejection(get + [("host", "a.example"), ("host", "a.example")]) == .duplicateHost)
    #expect(rejection(get + [("host", "a b")]) == .invalidAuthority)
    #expect(rejection(replacing(":authority", nil) + [("host", "")]) == .invalidAuthority)
  }

  @Test func `CONNECT has neither scheme nor path, and a port`() {
    let connect = [(":method", "CONNECT")]
    #expect(
      rejection(connect + [(":authority", "h:1"), (":scheme", "http")]) == .unknownPseudoField)
    #expect(rejection(connect + [(":authority", "h:1"), (":path", "/")]) == .unknownPseudoField)
    #expect(rejection(connect + [(":authority", "h")]) == .invalidAuthority)
    #expect(rejection(connect + [("host", "h:1")]) == .missingPseudoField)
  }

  @Test(arguments: [
    ("connection", "close"), ("keep-alive", "1"), ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("te", "gzip"),
    ("te", "trailers, gzip"), ("te", ""),
  ])
  func `fields of a connection are refused`(name: String, value: String) {
    #expect(rejection(get + [(name, value)]) == .connectionSpecificField)
  }

  @Test(arguments: ["Accept", "a b", "a:b", "", "a\u{e9}", "a\u{0}", "a\r\nb"])
  func `a field name is a token in lower case`(name: String) {
    #expect(rejection(get + [(name, "v")]) == .invalidFieldName)
  }

  @Test(arguments: ["a\r\nb", "a\u{0}", " a", "a ", "\ta", "a\t", "a\n", "\u{7f}"])
  func `a field value cannot end its line or begin with white space`(value: String) {
    #expect(rejection(get + [("a", value)]) == .invalidFieldValue)
    #expect(rejection(get + [("a", "b\tc d")]) == nil)
  }

  @Test(arguments: [
    ("7", HTTP2HeadRejection.invalidContentLength), ("x", .invalidContentLength),
    ("", .invalidContentLength), ("9223372036854775808", .invalidContentLength),
    ("0, 0", .duplicateContentLength),
  ])
  func `a length must be one, and 0 where no content follows`(
    value: String, expected: HTTP2HeadRejection
  ) {
    #expect(rejection(get + [("content-length", value)]) == expected)
    let twice = get + [("content-length", "0"), ("content-length", "0")]
    #expect(rejection(twice) == .duplicateContentLength)
  }

  @Test func `no more fields than the table holds`() {
    let eight = (0..<8).map { ("f\($0)", "v") }
    #expect(rejection(get + eight) == nil)
    #expect(rejection(get + eight + [("g", "v")]) == .tooManyFields)
  }

  @Test func `another expectation is refused, with 417`() {
    #expect(rejection(get + [("expect", "tea")]) == .unsupportedExpectation)
    #expect(HTTP2HeadRejection.unsupportedExpectation.status == 417)
  }

  @Test func `each rule has a label of its own and a status with a phrase`() {
    let labels = HTTP2HeadRejection.allCases.map { String(describing: $0.label) }
    #expect(Set(labels).count == labels.count)
    for rule in HTTP2HeadRejection.allCases {
      #expect(!String(describing: reasonPhrase(rule.status)).isEmpty)
    }
  }
}

@Suite struct ResponseViewTests {
  private func rejection(_ fields: [(String, String)]) -> HTTP2HeadRejection? {
    var head = HTTP2ResponseHead(fieldCapacity: 4)
    return withHead(fields) { head.read($0, endsStream: false) }
  }

  @Test(
    arguments: [
      ("200", nil), ("999", nil), ("100", nil), ("101", .invalidStatus), ("99", .invalidStatus),
      ("099", .invalidStatus), ("2000", .invalidStatus), ("2x0", .invalidStatus),
      ("", .invalidStatus),
    ] as [(String, HTTP2HeadRejection?)])
  func `a status has three digits and is not 101`(status: String, expected: HTTP2HeadRejection?) {
    #expect(rejection([(":status", status)]) == expected)
  }

  @Test func `a response has a status and no other pseudo-field`() {
    #expect(rejection([("a", "b")]) == .missingPseudoField)
    #expect(rejection([(":status", "200"), (":status", "200")]) == .duplicatePseudoField)
    #expect(rejection([("a", "b"), (":status", "200")]) == .misplacedPseudoField)
    for name in [":path", ":method", ":scheme", ":authority", ":reason"] {
      #expect(rejection([(":status", "200"), (name, "/")]) == .unknownPseudoField, "\(name)")
    }
    #expect(rejection([(":status", "200"), ("connection", "close")]) == .connectionSpecificField)
  }

  @Test func `the content of a response depends on status, method and length`() {
    var head = HTTP2ResponseHead(fieldCapacity: 4)
    func content(
      _ status: String, _ method: HTTPMethod, length: String? = nil, endsStream: Bool = false
    ) -> ContentExtent? {
      let fields = [(":status", status)] + (length.map { [("content-length", $0)] } ?? [])
      return withHead(fields) {
        guard head.read($0, endsStream: endsStream) == nil else { return nil }
        return head.view(of: $0).content(for: method)
      }
    }
    #expect(content("200", .get) == .unknown)
    #expect(content("200", .get, length: "5") == .length(5))
    #expect(content("200", .get, endsStream: true) == .length(0))
    #expect(content("200", .head, length: "5", endsStream: true) == ContentExtent.none)
    #expect(content("304", .get, length: "5", endsStream: true) == ContentExtent.none)
    #expect(content("204", .get, endsStream: true) == ContentExtent.none)
    #expect(content("200", .connect) == ContentExtent.none)
    #expect(content("103", .get) == ContentExtent.none)
  }
}

@Suite struct TrailerTests {
  private func forwarded(
    _ fields: [(String, String)], underscores: Bool = false
  ) -> (lines: [String], ambiguous: Int, rejection: HTTP2HeadRejection?) {
    var trailers = HTTP2Trailers(fieldCapacity: 8)
    return withHead(fields) { section in
      let rejection = trailers.read(section)
      var lines: [String] = []
      let ambiguous = trailers.forEachForwarded(dropsUnderscores: underscores) {
        lines.append(text($0) + ": " + text($1))
      }
      return (lines, ambiguous, rejection)
    }
  }

  @Test func `what frames, routes or attributes a message does not pass in trailers`() {
    let fields = [
      ("grpc-status", "0"), ("content-length", "5"), ("host", "a"), ("x-forwarded-for", "1"),
      ("x_forwarded_for", "1"), ("a_b", "c"), ("x-sum", ""),
    ]
    let passed = forwarded(fields)
    #expect(passed.rejection == nil && passed.ambiguous == 1)
    #expect(passed.lines == ["grpc-status: 0", "a_b: c", "x-sum: "])
    #expect(forwarded(fields, underscores: true).lines == ["grpc-status: 0", "x-sum: "])
  }

  @Test func `a section with a pseudo-field, or a field of a connection, passes nothing on`() {
    for name in [":path", ":status"] {
      let refused = forwarded([(name, "/"), ("a", "b")])
      #expect(refused.rejection == .misplacedPseudoField && refused.lines.isEmpty)
    }
    let refused = forwarded([("a", "b"), ("transfer-encoding", "chunked")])
    #expect(refused.rejection == .connectionSpecificField && refused.lines.isEmpty)
  }
}
