import HTTP
import HTTP1
import Testing

/// Heads, whole and broken, on which every way of cutting must give one answer.
let scannerSamples: [String] = [
  "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "\r\n\r\nPOST /abc?d HTTP/1.1\r\nHost: a\r\nX:\ty\t\r\nContent-Length: 3\r\n\r\nabcGET / ",
  "GET / HTTP/1.1\r\n\r\n",
  "GET / HTTP/1.1\r\n X: y\r\n\r\n", "GET / HTTP/1.1\r\nX: y\r\n\tz\r\n\r\n",
  "GET / HTTP/1.1\nHost: a\n\n", "GET / HTTP/1.1\r\nHost: a\n\r\n",
  "GET / HTTP/1.1\rHost: a\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\n\rx", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "\r\n\r\n\r\nGET /",
  "\rGET / HTTP/1.1\r\n\r\n", "\nGET / HTTP/1.1\r\n\r\n", "\r\n\nGET", "G@T / HTTP/1.1\r\n\r\n",
  "GET  / HTTP/1.1\r\n\r\n", "GET /\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/1.1 \r\n\r\n",
  "GET / HTTP/1.1x\r\n\r\n", "GET / HTTP/1\r\n\r\n", "GET /# HTTP/1.1\r\n\r\n", "GET / \r\n\r\n",
  "GET /\t HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nX: \u{01}\r\n\r\n",
  "GET /aaaaaaaaaaaaaaaaaaaaaaaaa",
  "GET / HTTP/1.1\r\nX: " + String(repeating: "a", count: 80),
]

@Suite struct HeadScannerTests {
  private let limits = HeadLimits(headBytes: 90, targetBytes: 20)

  @Test(arguments: scannerSamples)
  func everySplitGivesWhatTheWholeGives(sample: String) {
    let bytes = Array(sample.utf8)
    let whole = scan(bytes, limits: limits)
    for first in 0...bytes.count {
      #expect(scan(bytes, cuts: [first], limits: limits) == whole, "cut at \(first)")
      for second in first...bytes.count
      where scan(bytes, cuts: [first, second], limits: limits) != whole {
        Issue.record("cuts at \(first) and \(second)")
      }
    }
    let everyByte = Array(0...bytes.count)
    #expect(scan(bytes, cuts: everyByte, limits: limits) == whole)
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nA: b\r\n\r\nrest", "HTTP/1.1 200 O\tK\r\n\r\n", "HTTX",
    "\r\nHTTP/1.1 200\r\n",
    "HTTP/1.1 200 OK\n\n", "HTTP\r\n\r\n", "HTTP/1.1 200 OK\r\n A\r\n\r\n", "H\rX", "\n", "H\0",
  ])
  func everySplitOfAResponseGivesWhatTheWholeGives(sample: String) {
    let bytes = Array(sample.utf8)
    let whole = scan(bytes, isRequest: false)
    for first in 0...bytes.count {
      #expect(scan(bytes, cuts: [first], isRequest: false) == whole, "cut at \(first)")
    }
    #expect(scan(bytes, cuts: Array(0...bytes.count), isRequest: false) == whole)
  }

  @Test(
    arguments: [
      ("GET / HTTP/1.1\r\nHost: a\r\nX: y\n", .bareLF), ("GET / HTTP/1.1\r\nHost: a\rb", .bareCR),
      ("GET / HTTP/1.1\r\nHost: a\0", .controlByte), ("\u{16}", .controlByte),
      ("G\n", .bareLF), ("GET /\n", .bareLF), ("GET / HTTP/1.1\n", .bareLF),
      ("GET / HTTP/1.1\r\n ", .obsFold), ("GET / HTTP/1.1\r\nA: b\r\n\t", .obsFold),
      ("GET / HTTP/1.1\r\nA: b\r\n\rb", .bareCR), ("GET / HTTP/1.1x", .invalidVersion),
      ("@", .invalidMethod), (" ", .invalidMethod), ("GET  ", .invalidTarget),
      ("GET é", .invalidTarget),
    ] as [(String, HeadRejection)])
  func aFaultIsRefusedAsSoonAsItIsThere(start: String, rejection: HeadRejection) {
    let bytes = Array(start.utf8)
    #expect(scan(bytes) == .rejected(rejection))
    if start != "GET é" { #expect(scan(Array(bytes.dropLast())) == .incomplete) }
  }

  @Test func aResponseThatIsNoHTTPIsRefusedAtTheFirstByte() {
    #expect(scan(Array("S".utf8), isRequest: false) == .rejected(.invalidStatusLine))
    #expect(scan(Array("HTTQ".utf8), isRequest: false) == .rejected(.invalidStatusLine))
    #expect(scan(Array("HTT".utf8), isRequest: false) == .incomplete)
  }

  @Test func aSettledScannerSaysTheSameAgain() {
    var scanner = HeadScanner()
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next".utf8)
    withExactBytes(bytes) { raw in
      for _ in 0..<3 {
        #expect(scanner.scan(raw, limits: HeadLimits(), isRequest: true) == .complete(length: 27))
      }
    }
  }

  @Test func nothingAtAllIsIncomplete() {
    var scanner = HeadScanner()
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    #expect(scanner.scan(none, limits: HeadLimits(), isRequest: true) == .incomplete)
    var head = RequestHead(fieldCapacity: 1)
    #expect(head.parse(none, limits: HeadLimits()) == .incomplete)
    var response = ResponseHead(fieldCapacity: 1)
    #expect(response.parse(none, limits: HeadLimits()) == .incomplete)
  }
}
