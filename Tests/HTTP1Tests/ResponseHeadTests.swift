import HTTP
import HTTP1
import Testing

@Suite struct ResponseHeadTests {
  @Test func everyPartOfAnOrdinaryHeadIsFound() {
    let string =
      "HTTP/1.1 404 Not  Found\r\nServer: x\r\nContent-Length: 12\r\n"
      + "Connection: a\r\nA:\r\n\r\n"
    let (outcome, response) = parseResponse(string + "hello")
    #expect(outcome == .complete(length: string.utf8.count))
    #expect(response.status == 404)
    #expect(response.reason == "Not  Found")
    #expect(response.version == .http11)
    #expect(response.isPersistent)
    #expect(response.framing == .length(12))
    #expect(
      response.lines == [
        Line(name: "Server", value: "x", isHopByHop: false),
        Line(name: "Content-Length", value: "12", isHopByHop: false),
        Line(name: "Connection", value: "a", isHopByHop: true),
        Line(name: "A", value: "", isHopByHop: true),
      ])
  }

  @Test(
    arguments: [
      ("HTTP/1.1 200 ", 200, ""), ("HTTP/1.1 200", 200, ""), ("HTTP/1.1 100 C", 100, "C"),
      ("HTTP/1.1 599 \t x\u{E9} ", 599, "\t x\u{E9} "), ("HTTP/1.0 299 Z", 299, "Z"),
      ("HTTP/1.7 200 OK", 200, "OK"),
    ] as [(String, UInt16, String)])
  func statusLines(line: String, status: UInt16, reason: String) {
    let (outcome, response) = parseResponse("\(line)\r\n\r\n")
    #expect(outcome == .complete(length: line.utf8.count + 4))
    #expect(response.status == status)
    #expect(response.reason == reason)
  }

  @Test(
    arguments: [
      ("HTTP/1.1 099 x", .invalidStatusCode), ("HTTP/1.1 1000 x", .invalidStatusCode),
      ("HTTP/1.1 000 x", .invalidStatusCode),
      ("HTTP/1.1 20 x", .invalidStatusCode), ("HTTP/1.1 2000 x", .invalidStatusCode),
      ("HTTP/1.1 200OK", .invalidStatusCode), ("HTTP/1.1  200 OK", .invalidStatusCode),
      ("HTTP/1.1 +20 OK", .invalidStatusCode), ("HTTP/1.1", .invalidStatusCode),
      ("HTTP/1.1 ", .invalidStatusCode), ("HTTP/1.1 20", .invalidStatusCode),
      ("HTTP/1.1\t200 OK", .invalidVersion), ("HTTP/1.1x200 OK", .invalidVersion),
      ("HTTP/1. 200 OK", .invalidVersion), ("HTTP/", .invalidVersion),
      ("HTTP/2.0 200 OK", .unsupportedVersion), ("HTTP/0.9 200 OK", .unsupportedVersion),
      ("ICY 200 OK", .invalidStatusLine), ("http/1.1 200 OK", .invalidStatusLine),
      (" HTTP/1.1 200 OK", .invalidStatusLine), ("", .invalidStatusLine),
      ("<html>", .invalidStatusLine), ("HTTP", .invalidStatusLine),
      ("\0HTTP/1.1 200 OK", .controlByte), ("HTTP/1.1 200 O\0K", .controlByte),
      ("HTTP/1.1 200 O\u{7F}K", .controlByte), ("HTTP/1.1 200 OK\n", .bareLF),
      ("\nHTTP/1.1 200 OK", .bareLF), ("HTTP/1.1 200 O\rK", .bareCR),
      ("\rHTTP/1.1 200 OK", .bareCR),
    ] as [(String, HeadRejection)])
  func statusLinesOutsideTheGrammar(line: String, rejection: HeadRejection) {
    #expect(parseResponse("\(line)\r\nA: b\r\n\r\n").outcome == .rejected(rejection))
  }

  @Test(
    arguments: [
      ("Content-Length: 5\r\nContent-Length: 5", .duplicateContentLength),
      ("Content-Length: 5, 5", .duplicateContentLength),
      ("Content-Length: x", .invalidContentLength), ("Content-Length:", .invalidContentLength),
      ("Content-Length: 5\r\nTransfer-Encoding: chunked", .contentLengthAndTransferEncoding),
      ("Transfer-Encoding: gzip, chunked", .unsupportedTransferCoding),
      ("Transfer-Encoding: identity", .unsupportedTransferCoding),
      ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .unsupportedTransferCoding),
      ("A : b", .spaceBeforeColon), ("A: b\r\n c", .obsFold), (" A: b", .obsFold),
      (": b", .emptyFieldName), ("A b", .invalidFieldName), ("A: b\nC: d", .bareLF),
      ("A: b\rC: d", .bareCR), ("A: \0", .controlByte), ("<p>hello</p>", .invalidFieldName),
    ] as [(String, HeadRejection)])
  func fieldsThatMakeAResponseAmbiguous(lines: String, rejection: HeadRejection) {
    #expect(parseResponse("HTTP/1.1 200 OK\r\n\(lines)\r\n\r\n").outcome == .rejected(rejection))
  }

  @Test func chunkedInHTTP10IsRefused() {
    #expect(
      parseResponse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").outcome
        == .rejected(.unsupportedTransferCoding))
  }

  @Test(
    arguments: [
      (200, "Content-Length: 7\r\n", .length(7), .none, .none),
      (200, "Transfer-Encoding: chunked\r\n", .chunked, .none, .none),
      (200, "", .untilClose, .none, .none),
      (100, "", .none, .none, .none), (101, "", .none, .none, .none),
      (199, "", .none, .none, .none),
      (204, "", .none, .none, .none), (204, "Content-Length: 5\r\n", .none, .none, .none),
      (304, "Content-Length: 5\r\n", .none, .none, .none),
      (304, "Transfer-Encoding: chunked\r\n", .none, .none, .none),
      (205, "Content-Length: 0\r\n", .length(0), .none, .none),
      (299, "", .untilClose, .none, .none), (300, "", .untilClose, .none, .untilClose),
      (403, "Content-Length: 3\r\n", .length(3), .none, .length(3)),
    ] as [(Int, String, BodyFraming, BodyFraming, BodyFraming)])
  func framingFollowsStatusMethodAndFields(
    status: Int, lines: String, get: BodyFraming, head: BodyFraming, connect: BodyFraming
  ) {
    let (_, response) = parseResponse("HTTP/1.1 \(status) x\r\n\(lines)\r\n")
    #expect(Int(response.status) == status)
    #expect(response.framing == get)
    #expect(response.framingForHead == head)
    #expect(response.framingForConnect == connect)
  }

  @Test(
    arguments: [
      ("1.1 200 x", "", true), ("1.1 200 x", "Connection: close\r\n", false),
      ("1.0 200 x", "", false), ("1.0 200 x", "Connection: keep-alive\r\n", true),
      ("1.1 204 x", "Content-Length: 0\r\n", true), ("1.1 204 x", "Content-Length: 1\r\n", false),
      ("1.1 204 x", "Transfer-Encoding: chunked\r\n", false),
      ("1.1 304 x", "Content-Length: 9\r\n", true),
      ("1.1 200 x", "Connection: close; a, b c\r\n", true),
      ("1.1 200 x", "Connection: a b, close\r\n", false),
    ])
  func persistence(line: String, lines: String, persists: Bool) {
    let (outcome, response) = parseResponse("HTTP/\(line)\r\n\(lines)\r\n")
    guard case .complete = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(response.isPersistent == persists)
  }

  @Test func everyProperPrefixIsIncompleteForParseAndScanner() {
    let bytes = Array("HTTP/1.1 200\tOK\r\nA: b\t\r\nContent-Length: 5\r\n\r\n".utf8)
    #expect(parseResponse(bytes).outcome == .rejected(.invalidStatusCode))
    let good = Array("HTTP/1.1 200 \tOK\r\nA: b\t\r\nContent-Length: 5\r\n\r\n".utf8)
    for count in 0..<good.count {
      #expect(parseResponse(Array(good[..<count])).outcome == .incomplete, "\(count)")
      #expect(scan(Array(good[..<count]), isRequest: false) == .incomplete, "\(count)")
    }
    #expect(parseResponse(good).outcome == .complete(length: good.count))
    #expect(scan(good, isRequest: false) == .complete(length: good.count))
  }

  @Test func aHeadLeavesNothingOfTheOneBeforeIt() {
    var head = ResponseHead(fieldCapacity: 4)
    let first = Array("HTTP/1.0 201 A\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n".utf8)
    let second = Array("HTTP/1.1 200\r\n\r\n".utf8)
    withExactBytes(first) { #expect(head.parse($0, limits: HeadLimits()) != .incomplete) }
    #expect(head.framing(for: .get) == .length(3))
    withExactBytes(second) { raw in
      #expect(head.parse(raw, limits: HeadLimits()) != .incomplete)
      let view = head.view(in: raw)
      #expect(view.fieldCount == 0)
      #expect(view.first(.contentLength) == nil)
      #expect(view.reason.count == 0)
      #expect(view.content(for: .get) == .unknown)
    }
    #expect(head.framing(for: .get) == .untilClose)
    #expect(head.isPersistent == true)
    #expect(head.isInterim == false)
  }
}
