// Heads that must not pass, each with the rule that it breaks. The cases follow the ways in which
// published request-smuggling research made two hops disagree.

import HTTP
import HTTP1
import Testing

struct Refused: Sendable, CustomTestStringConvertible {
  var bytes: [UInt8]
  var rejection: HeadRejection
  var testDescription: String {
    String(decoding: bytes.prefix(60), as: UTF8.self).debugDescription + " → \(rejection)"
  }

  init(_ string: String, _ rejection: HeadRejection) {
    bytes = Array(string.utf8)
    self.rejection = rejection
  }

  init(_ bytes: [UInt8], _ rejection: HeadRejection) {
    self.bytes = bytes
    self.rejection = rejection
  }

  /// A request whose field lines, behind a valid Host, are these.
  static func fields(_ lines: String, _ rejection: HeadRejection) -> Refused {
    Refused("POST / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n\r\n", rejection)
  }

  static func line(_ line: String, _ rejection: HeadRejection) -> Refused {
    Refused("\(line)\r\nHost: a\r\n\r\n", rejection)
  }

  static func host(_ value: String, _ rejection: HeadRejection = .invalidHost) -> Refused {
    Refused("GET / HTTP/1.1\r\nHost: \(value)\r\n\r\n", rejection)
  }
}

@Suite struct RequestRejectionTests {
  private func expectRefused(_ refused: Refused) {
    #expect(parseRequest(refused.bytes).outcome == .rejected(refused.rejection))
    // A request that is refused whole is refused by the scanner or by the parse after it.
    switch scan(refused.bytes) {
    case .complete(let length): #expect(length <= refused.bytes.count)
    case .rejected: break
    case .incomplete: Issue.record("the scanner would wait for more")
    }
  }

  @Test(arguments: [
    Refused.line("GET  / HTTP/1.1", .invalidTarget), .line("GET /  HTTP/1.1", .invalidVersion),
    .line(" GET / HTTP/1.1", .invalidMethod), .line("GET / HTTP/1.1 ", .invalidVersion),
    .line("GET\t/ HTTP/1.1", .controlByte), .line("GET /\tHTTP/1.1", .controlByte),
    .line("GET / HTTP/1.1\t", .controlByte), .line("G@T / HTTP/1.1", .invalidMethod),
    .line("GET: / HTTP/1.1", .invalidMethod), .line("GÉT / HTTP/1.1", .invalidMethod),
    .line("\"GET\" / HTTP/1.1", .invalidMethod), .line("", .invalidMethod),
    .line("GET", .invalidMethod), .line("GET ", .invalidTarget), .line("GET /", .invalidVersion),
    .line("GET / ", .invalidVersion), .line("GET / x HTTP/1.1", .invalidVersion),
    .line(String(repeating: "A", count: 65) + " / HTTP/1.1", .invalidMethod),
    .line("GET / HTTP/1.1\0", .controlByte), .line("GET /\0 HTTP/1.1", .controlByte),
    .line("GET /\u{7F} HTTP/1.1", .controlByte), .line("GET /\u{1B}[2J HTTP/1.1", .controlByte),
    Refused("GET / HTTP/1.1\nHost: a\n\n", .bareLF),
    Refused("GET / HTTP/1.1\rHost: a\r\n\r\n", .bareCR),
    Refused("GET /\n HTTP/1.1\r\nHost: a\r\n\r\n", .bareLF),
    Refused("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", .bareCR),
    Refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareLF),
    Refused("\r\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareLF),
    Refused("\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", .bareCR),
    Refused([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01], .controlByte),  // a TLS ClientHello
    Refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", .http2Preface),
  ])
  func requestLinesOutsideTheGrammar(refused: Refused) { expectRefused(refused) }

  @Test(
    arguments: [
      ("HTTP/2.0", .unsupportedVersion), ("HTTP/0.9", .unsupportedVersion),
      ("HTTP/3.0", .unsupportedVersion), ("HTTP/9.9", .unsupportedVersion),
      ("http/1.1", .invalidVersion), ("HTTP/1,1", .invalidVersion), ("HTTP/1.", .invalidVersion),
      ("HTTP/1.1x", .invalidVersion), ("HTTP/1.10", .invalidVersion), ("HTTP/11", .invalidVersion),
      ("HTTP/+1.1", .invalidVersion), ("HTTP/1.a", .invalidVersion), ("HTP/1.1", .invalidVersion),
      ("HTTP/-1.1", .invalidVersion), ("HTTP\\1.1", .invalidVersion), ("HTTP/2", .invalidVersion),
      ("HTTPS/1.1", .invalidVersion),
    ] as [(String, HeadRejection)])
  func versions(version: String, rejection: HeadRejection) {
    expectRefused(.line("GET / \(version)", rejection))
  }

  @Test(arguments: [
    "GET *", "POST *", "GET a", "GET index.html", "GET #", "GET /#frag", "GET /a?b#c",
    "GET http://", "GET http:///p", "GET http:/a/p", "GET http:a", "GET https://", "GET https:///",
    "GET ftp://a/", "GET ://a/", "GET http://u@a/", "GET http://u:p@a/", "GET http://a:b/",
    "GET http://a:65536/", "GET http://a:1:2/", "GET http://[::1/", "GET http://[::1]x/",
    "GET http://a%00/", "GET http://a,b/", "GET a:443", "CONNECT /", "CONNECT a", "CONNECT a:",
    "CONNECT http://a:1/", "CONNECT *", "CONNECT :443", "CONNECT u@a:443", "CONNECT a:443/",
    "OPTIONS **", "GET /é", "GET ?a", "GET \\", "GET /#",
  ])
  func targetsOfNoForm(line: String) { expectRefused(.line("\(line) HTTP/1.1", .invalidTarget)) }

  @Test(arguments: [
    Refused.fields("X : y", .spaceBeforeColon), .fields("X\t: y", .spaceBeforeColon),
    .fields("Transfer-Encoding : chunked", .spaceBeforeColon),
    .fields("Content-Length \t : 5", .spaceBeforeColon),
    .fields("X: y\r\n z: 1", .obsFold), .fields("X: y\r\n\tz", .obsFold),
    .fields("Transfer-Encoding:\r\n chunked", .obsFold), .fields(" X: y", .obsFold),
    Refused("GET / HTTP/1.1\r\n Host: a\r\n\r\n", .obsFold),
    Refused("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", .obsFold),
    .fields(": y", .emptyFieldName), .fields("X", .invalidFieldName),
    .fields("X Y: z", .invalidFieldName), .fields("X(: y", .invalidFieldName),
    .fields("X\"Y\": z", .invalidFieldName), .fields("é: z", .invalidFieldName),
    .fields("X;y: z", .invalidFieldName), .fields("[X]: z", .invalidFieldName),
    .fields("GET / HTTP/1.1", .invalidFieldName),
    .fields("X\0: y", .controlByte), .fields("X\u{7F}: y", .controlByte),
    .fields("\0X: y", .controlByte), .fields("\u{0B}Transfer-Encoding: chunked", .controlByte),
    .fields("Transfer-Encoding\u{0B}: chunked", .controlByte),
    .fields("X: \0", .controlByte), .fields("X: a\u{01}b", .controlByte),
    .fields("X: a\u{7F}", .controlByte), .fields("X: a\u{0B}b", .controlByte),
    .fields("X: a\u{0C}b", .controlByte), .fields("X: a\u{08}", .controlByte),
    .fields("X: a\nTransfer-Encoding: chunked", .bareLF), .fields("X: a\n", .bareLF),
    .fields("X\n: a", .bareLF), .fields("X: a\rY: b", .bareCR), .fields("X: a\r\rY", .bareCR),
    .fields("X\r: a", .bareCR), .fields("X: \r", .bareCR),
    Refused("GET / HTTP/1.1\r\nHost: a\r\n\n", .bareLF),
    Refused("GET / HTTP/1.1\r\nHost: a\r\n\rX", .bareCR),
    Refused("GET / HTTP/1.1\r\nHost: a\n\r\n", .bareLF),
  ])
  func fieldLinesOutsideTheGrammar(refused: Refused) { expectRefused(refused) }

  @Test(arguments: [
    Refused.fields("Content-Length: 5\r\nContent-Length: 5", .duplicateContentLength),
    .fields("Content-Length: 5\r\nContent-Length: 6", .duplicateContentLength),
    .fields("Content-Length: 5\r\nX: y\r\ncontent-length: 5", .duplicateContentLength),
    .fields("Content-Length: 5, 5", .duplicateContentLength),
    .fields("Content-Length: 5,6", .duplicateContentLength),
    .fields("Content-Length: 5,", .duplicateContentLength),
    .fields("Content-Length: ,5", .duplicateContentLength),
    .fields("Content-Length:", .invalidContentLength),
    .fields("Content-Length: +5", .invalidContentLength),
    .fields("Content-Length: -5", .invalidContentLength),
    .fields("Content-Length: -0", .invalidContentLength),
    .fields("Content-Length: 0x5", .invalidContentLength),
    .fields("Content-Length: 5 5", .invalidContentLength),
    .fields("Content-Length: 5.0", .invalidContentLength),
    .fields("Content-Length: 1e3", .invalidContentLength),
    .fields("Content-Length: 1_000", .invalidContentLength),
    .fields("Content-Length: \"5\"", .invalidContentLength),
    .fields("Content-Length: 5;", .invalidContentLength),
    .fields("Content-Length: ٥", .invalidContentLength),
    .fields("Content-Length: chunked", .invalidContentLength),
    .fields("Content-Length: 9223372036854775808", .invalidContentLength),
    .fields("Content-Length: 18446744073709551615", .invalidContentLength),
    .fields("Content-Length: 18446744073709551616", .invalidContentLength),
    .fields("Content-Length: 18446744073709551621", .invalidContentLength),
    .fields("Content-Length: 99999999999999999999999999", .invalidContentLength),
  ])
  func contentLengths(refused: Refused) { expectRefused(refused) }

  @Test(arguments: [
    "chunked, chunked", "chunked,", ",chunked", "gzip", "gzip, chunked", "chunked, gzip",
    "chunked, identity", "identity", "identity, chunked", "xchunked", "chunkedx", "chunked;q=1",
    "chunked ; a", "\"chunked\"", "'chunked'", "chunke", "chunked chunked", "x chunked", "", "cow",
    "deflate", "[chunked]", "ch unked", "chunked\t,\tidentity", "\u{A0}chunked", "chunK\u{E9}d",
    "chun\u{212A}ed",
  ])
  func transferCodings(value: String) {
    expectRefused(.fields("Transfer-Encoding: \(value)", .unsupportedTransferCoding))
  }

  @Test(arguments: [
    Refused.fields(
      "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
      .unsupportedTransferCoding),
    .fields("Transfer-Encoding: chunked\r\nTransfer-encoding: cow", .unsupportedTransferCoding),
    .fields(
      "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
      .unsupportedTransferCoding),
    Refused(
      "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
      .unsupportedTransferCoding),
    .fields("Content-Length: 5\r\nTransfer-Encoding: chunked", .contentLengthAndTransferEncoding),
    .fields("Transfer-Encoding: chunked\r\nContent-Length: 5", .contentLengthAndTransferEncoding),
    .fields("Transfer-Encoding: chunked\r\nContent-Length: 0", .contentLengthAndTransferEncoding),
    .fields("Transfer-Encoding: identity\r\nContent-Length: 5", .contentLengthAndTransferEncoding),
    .fields("Transfer-Encoding:\r\nContent-Length: 5", .contentLengthAndTransferEncoding),
    Refused(
      "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
      .contentLengthAndTransferEncoding),
    .fields(
      "Content-Length: 5\r\nContent-Length: 6\r\nTransfer-Encoding: chunked",
      .contentLengthAndTransferEncoding),
    // Nominating a framing field does not make it go away.
    .fields(
      "Connection: content-length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
      .contentLengthAndTransferEncoding),
  ])
  func twoFramings(refused: Refused) { expectRefused(refused) }

  @Test(arguments: [
    Refused("GET / HTTP/1.1\r\n\r\n", .missingHost),
    Refused("GET http://a/ HTTP/1.1\r\n\r\n", .missingHost),
    Refused("GET / HTTP/1.1\r\nX-Host: a\r\n\r\n", .missingHost),
    Refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", .duplicateHost),
    Refused("GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n", .duplicateHost),
    Refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", .duplicateHost),
    Refused("GET http://a/ HTTP/1.1\r\nHost: u@b\r\n\r\n", .invalidHost),
    .host(""), .host("a b"), .host("a,b"), .host("a/b"), .host("a@b"), .host("u:p@b"),
    .host("http://a"), .host("a:b"), .host("a:1:2"), .host("a:65536"), .host("a:999999"),
    .host("a:-1"), .host(":80"), .host("a%2e"), .host("a#"), .host("a?"), .host("a\\b"),
    .host("<a>"), .host("\"a\""), .host("é"), .host("[::1"), .host("::1"), .host("[::1]a"),
    .host("[]"), .host("[1]"), .host("[::g]"), .host("[fe80::1%25eth0]"), .host("[::1]:x"),
    .host("[v1.a]"), .host("[" + String(repeating: ":", count: 46) + "]"), .host("a;b"),
    .host("a\tb"),
  ])
  func hosts(refused: Refused) { expectRefused(refused) }

  @Test(arguments: [
    Refused.fields("Expect: 200-ok", .unsupportedExpectation),
    .fields("Expect: 100-continue, x", .unsupportedExpectation),
    .fields("Expect: 100-continu", .unsupportedExpectation),
    .fields("Expect:", .unsupportedExpectation),
    .fields("Expect: 100-continue\r\nExpect: y", .unsupportedExpectation),
    .fields("Connection: a b", .invalidFieldValue), .fields("Connection: @", .invalidFieldValue),
    .fields("Connection: \"close\"", .invalidFieldValue),
    .fields("Connection: close\r\nConnection: x;y", .invalidFieldValue),
  ])
  func connectionAndExpect(refused: Refused) { expectRefused(refused) }

  @Test func everyRejectionHasItsStatusAndALabelOfItsOwn() {
    let special: [HeadRejection: UInt16] = [
      .headTooLarge: 431, .tooManyFields: 431, .tooManyConnectionOptions: 431,
      .targetTooLong: 414, .unsupportedExpectation: 417, .unsupportedVersion: 505,
      .http2Preface: 505,
    ]
    var labels: Set<String> = []
    for rejection in HeadRejection.allCases {
      #expect(rejection.status == special[rejection] ?? 400)
      let label = String(describing: rejection.label)
      #expect(label.allSatisfy { $0 == "_" || ($0.isLowercase && $0.isASCII) })
      labels.insert(label)
    }
    #expect(labels.count == HeadRejection.allCases.count)
  }
}
