// Seeded mutation of heads and chunked messages. Whatever comes out, nothing traps, what is
// accepted is inside its bytes, scanner and parse agree, cutting changes nothing, and what is
// forwarded is accepted again with the same meaning: the property that smuggling breaks.

import HTTP
import HTTP1
import Testing

private let seeds: [UInt64] = (0..<16).map { 0x4D69_6C6C + $0 }
private let rounds = 400

private let spice: [[UInt8]] = [
  "\r\n", "\n", "\r", " ", "\t", ":", ",", ";", "\0", "chunked", "Content-Length: 5\r\n", "é",
  "Transfer-Encoding: chunked\r\n", "Connection: x, close\r\n", "Host: b\r\n", "\r\n\r\n", "0", "5",
  "HTTP/1.0", "http://b/", "#", "?", "@", "[::1]", "X: y\r\n", "\"", "=", "ffffffffffffffff", "x:",
].map { Array($0.utf8) }

private func mutate(_ bytes: inout [UInt8], _ random: inout Seeded) {
  for _ in 0..<Int.random(in: 1...4, using: &random) {
    let place = Int.random(in: 0...bytes.count, using: &random)
    switch Int.random(in: 0..<6, using: &random) {
    case 0 where place < bytes.count: bytes[place] = UInt8.random(in: 0...255, using: &random)
    case 1 where place < bytes.count: bytes.remove(at: place)
    case 2 where place < bytes.count:
      let end = min(bytes.count, place + Int.random(in: 1...20, using: &random))
      bytes.insert(contentsOf: bytes[place..<end], at: place)
    case 3: bytes = Array(bytes[..<place])
    default: bytes.insert(contentsOf: spice.randomElement(using: &random)!, at: place)
    }
  }
}

private func cuts(_ count: Int, _ random: inout Seeded) -> [Int] {
  (0..<Int.random(in: 0...6, using: &random)).map { _ in Int.random(in: 0...count, using: &random) }
    .sorted()
}

@Suite struct FuzzTests {
  private static let requests: [String] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /a?b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\nConnection: X\r\nX: 1\r\n\r\nhello",
    "PUT http://h/p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
      + "Expect: 100-continue\r\n\r\n",
    "\r\nCONNECT [::1]:1 HTTP/1.1\r\nHost: [::1]:1\r\nTE: trailers\r\nY:\tz \r\n\r\n",
    "OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nCookie: a=b\r\nCookie: c\r\n\r\n",
  ]
  private static let limits = HeadLimits(headBytes: 160, targetBytes: 40, fields: 8)

  @Test(arguments: seeds)
  func mutatedRequests(seed: UInt64) {
    var random = Seeded(seed)
    for round in 0..<rounds {
      var bytes = Array(Self.requests.randomElement(using: &random)!.utf8)
      mutate(&bytes, &random)
      let (outcome, request) = parseRequest(bytes, limits: Self.limits)
      let scanned = scan(bytes, limits: Self.limits)
      let pieces = scan(bytes, cuts: cuts(bytes.count, &random), limits: Self.limits)
      #expect(pieces == scanned, "seed \(seed) round \(round)")
      switch outcome {
      case .complete(let length):
        #expect(scanned == outcome, "seed \(seed) round \(round)")
        #expect(length <= min(bytes.count, Self.limits.headBytes))
        checkForwarding(bytes, request, "seed \(seed) round \(round)")
      case .incomplete: #expect(scanned == .incomplete, "seed \(seed) round \(round)")
      case .rejected: break
      }
      if case .complete = scanned { #expect(outcome != .incomplete, "seed \(seed) round \(round)") }
    }
  }

  /// Forwards an accepted request and reads the result again.
  private func checkForwarding(_ bytes: [UInt8], _ request: Request, _ place: Comment) {
    let lines = forwarded(String(decoding: bytes, as: UTF8.self))
    // Bytes that are not UTF-8 do not survive the way through String.
    guard String(decoding: bytes, as: UTF8.self).utf8.elementsEqual(bytes) else { return }
    let coding = request.framing == .chunked ? "Transfer-Encoding: chunked\r\n" : ""
    let version = request.version == .http11 ? "1.1" : "1.0"
    let head = "\(request.methodText) \(request.target) HTTP/\(version)\r\n\(lines)\(coding)\r\n"
    let (outcome, again) = parseRequest(head)
    #expect(outcome == .complete(length: head.utf8.count), place)
    #expect(again.framing == request.framing, place)
    #expect(again.authority == request.authority, place)
    #expect(again.path == request.path && again.query == request.query, place)
    #expect(
      again.lines.filter { !$0.isHopByHop } == request.lines.filter { !$0.isHopByHop }, place)
  }

  @Test(arguments: seeds)
  func mutatedResponses(seed: UInt64) {
    let responses = [
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.0 304\r\nA: b\r\n\r\n",
      "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nConnection: a, b c\r\nA: 1\r\n\r\n",
    ]
    var random = Seeded(seed)
    for round in 0..<rounds {
      var bytes = Array(responses.randomElement(using: &random)!.utf8)
      mutate(&bytes, &random)
      let (outcome, response) = parseResponse(bytes, limits: Self.limits)
      let scanned = scan(bytes, limits: Self.limits, isRequest: false)
      let pieces = scan(
        bytes, cuts: cuts(bytes.count, &random), limits: Self.limits, isRequest: false)
      #expect(pieces == scanned, "seed \(seed) round \(round)")
      if case .complete = outcome {
        #expect(scanned == outcome, "seed \(seed) round \(round)")
        #expect((100...599).contains(response.status))
      }
      if outcome == .incomplete { #expect(scanned == .incomplete, "seed \(seed) round \(round)") }
    }
  }

  @Test(arguments: seeds)
  func mutatedChunkedMessages(seed: UInt64) {
    var random = Seeded(seed)
    let limits = HeadLimits(headBytes: 64, fields: 4)
    for round in 0..<rounds {
      var bytes = Array(chunkedSamples.randomElement(using: &random)!.utf8)
      mutate(&bytes, &random)
      let whole = decode(bytes, limits: limits)
      let pieces = decode(bytes, cuts: cuts(bytes.count, &random), limits: limits)
      #expect(pieces.content == whole.content, "seed \(seed) round \(round)")
      #expect(pieces.end == whole.end, "seed \(seed) round \(round)")
      #expect(pieces.trailers == whole.trailers, "seed \(seed) round \(round)")
      if whole.end == .complete {
        #expect(pieces.consumed == whole.consumed, "seed \(seed) round \(round)")
        // What is behind the message has no part in it.
        let alone = decode(Array(bytes[..<whole.consumed]), limits: limits)
        #expect(alone == whole, "seed \(seed) round \(round)")
        let short = decode(Array(bytes[..<(whole.consumed - 1)]), limits: limits)
        #expect(short.end == .open, "seed \(seed) round \(round)")
      }
    }
  }

  @Test(arguments: seeds)
  func encodedMessagesDecodeToTheirContent(seed: UInt64) {
    var random = Seeded(seed)
    for round in 0..<50 {
      var content: [UInt8] = []
      var message: [UInt8] = []
      for _ in 0..<Int.random(in: 0...5, using: &random) {
        let chunk = (0..<Int.random(in: 1...40, using: &random)).map { _ in
          UInt8.random(in: 0...255, using: &random)
        }
        let zeros = String(repeating: "0", count: Int.random(in: 0...3, using: &random))
        let size = zeros + String(chunk.count, radix: 16, uppercase: Bool.random(using: &random))
        let tail = ["", ";a", ";a=b", " ; a=\"\\\"\";b"].randomElement(using: &random)!
        message += Array((size + tail + "\r\n").utf8) + chunk + [13, 10]
        content += chunk
      }
      let trailers = ["", "A: b\r\n", "A: b\r\nC: d\r\n"].randomElement(using: &random)!
      message += Array(("0\r\n" + trailers + "\r\n").utf8)
      let result = decode(message + [0, 1], cuts: cuts(message.count, &random))
      #expect(result.content == content, "seed \(seed) round \(round)")
      #expect(result.end == .complete, "seed \(seed) round \(round)")
      #expect(result.consumed == message.count, "seed \(seed) round \(round)")
      #expect(result.trailers.count == trailers.split(separator: "\r\n").count)
    }
  }
}
