import HTTP
import HTTP1
import Testing

@Suite struct HeadLimitsTests {
  private func request(target: Int) -> [UInt8] {
    let path = "/" + String(repeating: "a", count: target - 1)
    return Array("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
  }

  private func request(fields: Int) -> [UInt8] {
    let more = (1..<fields).map { "F\($0): v\r\n" }.joined()
    return Array("GET / HTTP/1.1\r\nHost: a\r\n\(more)\r\n".utf8)
  }

  @Test func headBytesAtTheLimitAndOneOff() {
    let bytes = request(target: 30)
    let count = bytes.count
    for (limit, passes) in [(count - 1, false), (count, true), (count + 1, true)] {
      let limits = HeadLimits(headBytes: limit)
      let expected = passes ? HeadOutcome.complete(length: count) : .rejected(.headTooLarge)
      #expect(parseRequest(bytes, limits: limits).outcome == expected)
      #expect(scan(bytes, limits: limits) == expected)
      // More bytes behind the head do not make it larger.
      #expect(parseRequest(bytes + [0, 0, 0], limits: limits).outcome == expected)
      #expect(scan(bytes + [0, 0, 0], limits: limits) == expected)
    }
  }

  @Test func anUnfinishedHeadIsRefusedWhenItFillsItsLimit() {
    let bytes = Array("GET / HTTP/1.1\r\nHost: aaaaaaaaaaaaaaaaaaaaaaa".utf8)
    for (limit, outcome) in [
      (bytes.count + 1, HeadOutcome.incomplete), (bytes.count, .rejected(.headTooLarge)),
      (bytes.count - 1, .rejected(.headTooLarge)), (0, .rejected(.headTooLarge)),
      (-1, .rejected(.headTooLarge)),
    ] {
      #expect(parseRequest(bytes, limits: HeadLimits(headBytes: limit)).outcome == outcome)
      #expect(scan(bytes, limits: HeadLimits(headBytes: limit)) == outcome)
    }
  }

  @Test func targetBytesAtTheLimitAndOneOff() {
    for size in [1, 2, 7, 8, 9, 8_191, 8_192] {
      let limits = HeadLimits(targetBytes: size)
      let fits = request(target: size)
      #expect(parseRequest(fits, limits: limits).outcome == .complete(length: fits.count))
      #expect(scan(fits, limits: limits) == .complete(length: fits.count))
      let over = request(target: size + 1)
      #expect(parseRequest(over, limits: limits).outcome == .rejected(.targetTooLong))
      #expect(scan(over, limits: limits) == .rejected(.targetTooLong))
    }
  }

  @Test func aTargetOverItsLimitIsRefusedBeforeItEnds() {
    let limits = HeadLimits(targetBytes: 10)
    let bytes = Array("GET /123456789".utf8)
    #expect(scan(bytes, limits: limits) == .incomplete)
    #expect(parseRequest(bytes, limits: limits).outcome == .incomplete)
    #expect(scan(bytes + [0x61], limits: limits) == .rejected(.targetTooLong))
    #expect(parseRequest(bytes + [0x61], limits: limits).outcome == .rejected(.targetTooLong))
  }

  @Test func fieldsAtTheLimitAndOneOff() {
    for (fields, limit, capacity, passes) in [
      (4, 5, 100, true), (5, 5, 100, true), (6, 5, 100, false), (5, 100, 5, true),
      (6, 100, 5, false), (1, 0, 5, false), (1, -1, 5, false),
    ] {
      let bytes = request(fields: fields)
      let limits = HeadLimits(fields: limit)
      let outcome = parseRequest(bytes, limits: limits, capacity: capacity).outcome
      #expect(outcome == (passes ? .complete(length: bytes.count) : .rejected(.tooManyFields)))
    }
    let response = "HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n"
    #expect(parseResponse(response, limits: HeadLimits(fields: 2)).response.lines.count == 2)
    #expect(
      parseResponse(response, limits: HeadLimits(fields: 1)).outcome == .rejected(.tooManyFields))
  }

  @Test func extremeLimitsDoNotTrap() {
    let bytes = request(target: 5)
    let huge = HeadLimits(headBytes: .max, targetBytes: .max, fields: .max)
    #expect(parseRequest(bytes, limits: huge).outcome == .complete(length: bytes.count))
    #expect(scan(bytes, limits: huge) == .complete(length: bytes.count))
    let tiny = HeadLimits(headBytes: .min, targetBytes: .min, fields: .min)
    #expect(parseRequest(bytes, limits: tiny).outcome == .rejected(.headTooLarge))
    #expect(scan(bytes, limits: tiny) == .rejected(.headTooLarge))
    let short = HeadLimits(targetBytes: .min)
    #expect(parseRequest(bytes, limits: short).outcome == .rejected(.targetTooLong))
    #expect(scan(bytes, limits: short) == .rejected(.targetTooLong))
  }

  @Test func methodsAreBounded() {
    for (count, passes) in [(63, true), (64, true), (65, false)] {
      let string = String(repeating: "M", count: count) + " / HTTP/1.1\r\nHost: a\r\n\r\n"
      let bytes = Array(string.utf8)
      let expected = passes ? HeadOutcome.complete(length: bytes.count) : .rejected(.invalidMethod)
      #expect(parseRequest(bytes).outcome == expected)
      #expect(scan(bytes) == expected)
    }
    // A peer that never sends a space is refused without waiting for the head's limit.
    #expect(scan([UInt8](repeating: 0x41, count: 65)) == .rejected(.invalidMethod))
  }
}
