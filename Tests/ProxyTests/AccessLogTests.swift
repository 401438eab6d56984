// The way of a line from a worker to its destination, without a proxy: rings, samples, messages, and the
// thread that writes.

import Configuration
import Foundation
import Logging
import MillraceEngine
import Synchronization
import Testing
import Variables

@testable import Proxy

private func withBytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) {
  var text = text
  text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
}

@Suite("Lines on their way")
struct LineRingTests {
  @Test("lines come out as they went in, also where the memory begins anew")
  func order() {
    let ring = LineRing(capacity: 256)
    for round in 0..<200 {
      let texts = (0...(round % 3)).map {
        String(repeating: "x", count: (round * 7 + $0) % 40) + "."
      }
      for text in texts {
        withBytes(text) { bytes in
          let fits = ring.append(bytes, microseconds: Int64(round))
          #expect(fits)
        }
      }
      for text in texts {
        guard let entry = ring.peek() else {
          Issue.record("no line in round \(round)")
          return
        }
        #expect(String(decoding: entry.bytes, as: UTF8.self) == text)
        #expect(entry.microseconds == Int64(round))
        ring.release(entry)
      }
      let isEmpty = ring.isEmpty && ring.peek() == nil
      #expect(isEmpty)
    }
    let dropped = ring.dropped.load(ordering: .relaxed)
    #expect(dropped == 0)
  }

  @Test("a line that fits to the byte is taken, and one more is dropped and counted")
  func full() {
    let capacity = 1024
    let whole = capacity - 16
    for count in [whole - 1, whole, whole + 1] {
      let ring = LineRing(capacity: capacity)
      withBytes(String(repeating: "x", count: count)) {
        let fits = ring.append($0, microseconds: 0)
        #expect(fits == (count <= whole))
      }
      let dropped = ring.dropped.load(ordering: .relaxed)
      #expect(dropped == (count <= whole ? 0 : 1))
      withBytes("y") {
        let fits = ring.append($0, microseconds: 0)
        #expect(fits == (count > whole))
      }
    }
  }

  @Test("two threads lose no line and invent none")
  func threads() throws {
    let feed = try LineFeed(workers: 1, capacity: 4096)
    let source = feed.source(0)
    let count = 20_000
    let done = Atomic<Bool>(false)
    withUnsafePointer(to: done) { done in
      nonisolated(unsafe) let done = done
      let thread = try? WorkerThread.start(name: "lines", cpu: nil) {
        for number in 0..<count {
          withBytes("\(number)") { source.append($0, microseconds: 0) }
        }
        done.pointee.store(true, ordering: .releasing)
        feed.signal.call()
      }
      var seen = 0
      var last = -1
      while true {
        let isOver = done.pointee.load(ordering: .acquiring)
        while let entry = feed[0].pointee.peek() {
          let number = Int(String(decoding: entry.bytes, as: UTF8.self)) ?? -1
          #expect(number > last)
          last = number
          seen += 1
          feed[0].pointee.release(entry)
        }
        if isOver && feed.isEmpty { break }
        if !isOver { feed.waitForLines(nanoseconds: 1_000_000_000) }
      }
      thread?.join()
      #expect(seen + feed.missing == count)
    }
  }

  @Test("the share that is asked for, by number, and errors in any case")
  func samples() {
    func plan(_ millionths: Int, _ keeps: Bool) -> AccessPlan {
      var memory = PlanMemory()
      return AccessPlan(
        AccessLogConfiguration(
          destination: .standardOutput, samplePerMillion: millionths, keepsErrors: keeps), &memory)
    }
    func count(_ plan: AccessPlan, isError: Bool = false) -> Int {
      (1...100_000).count { plan.samples(UInt64($0), isError: isError) }
    }
    #expect(count(plan(0, true)) == 0)
    #expect(count(plan(1_000_000, true)) == 100_000)
    #expect(count(plan(0, true), isError: true) == 100_000)
    #expect(count(plan(0, false), isError: true) == 0)
    // The numbers are fixed, and so is the outcome: near to what is asked for.
    #expect(abs(count(plan(250_000, true)) - 25_000) < 500)
  }

  @Test("a message of syslog by RFC 5424, with names that cannot break it")
  func syslog() {
    let header = SyslogHeader(priority: 190, host: "a b\u{e9}", tag: "", process: 7)
    var room = [UInt8](repeating: 0, count: 256)
    let line = Array("hello\n".utf8)
    let count = room.withUnsafeMutableBytes { room in
      line.withUnsafeBytes { header.write($0, microseconds: 0, into: room) }
    }
    #expect(
      String(decoding: room[..<count], as: UTF8.self)
        == "<190>1 1970-01-01T00:00:00.000000Z ab - 7 access - hello")
    #expect(count <= header.count + line.count)
  }

  @Test("a batch knows which of its lines are not written")
  func batch() {
    var batch = LineBatch(capacity: 10)
    for (line, isTaken) in [("ab\n", true), ("cde\n", true), ("fghi", false), ("fgh", true)] {
      var fits = false
      withBytes(line) { fits = batch.append($0) }
      #expect(fits == isTaken, "\(line)")
    }
    var lines = batch.lines
    #expect(lines == 3)
    batch.advance(4)
    let written = batch.written
    lines = batch.lines
    #expect(lines == 2 && written == 4)
    let rest = Array(batch.unwritten)
    #expect(rest == Array("de\nfgh".utf8))
    batch.advance(6)
    let isEmpty = batch.isEmpty
    lines = batch.lines
    #expect(isEmpty && lines == 0)
  }
}

@Suite("Spans and the collector's answers")
struct TraceTests {
  private func value(_ text: String) -> UnsafeRawBufferPointer {
    var memory = PlanMemory()
    return UnsafeRawBufferPointer(memory.keep(Array(text.utf8)))
  }

  @Test("spans fit however long their texts are, and are JSON")
  func longest() throws {
    let worst = value(String(repeating: "\u{1}", count: 70_000))
    var values = ExchangeValues()
    values.request.method = worst
    values.request.path = worst
    values.request.host = worst
    values.request.userAgent = worst
    values.client = worst
    values.listener = worst
    values.route = worst
    values.upstream = worst
    values.server = worst
    values.status = 502
    values.trace.high = 1
    values.trace.span = 2
    var room = [UInt8](repeating: 0, count: SpanWriter.maximum)
    let count = room.withUnsafeMutableBytes {
      SpanWriter.write(&values, isSecureUpstream: true, into: $0)
    }
    #expect(count > 0)
    let text = "[" + String(decoding: room[..<count], as: UTF8.self) + "]"
    let spans = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]]
    #expect(spans?.count == 2)
    #expect(spans?[1]["parentSpanId"] as? String == "0000000000000002")
  }

  @Test(
    "what the collector answers",
    arguments: [
      ("HTTP/1.1 200 OK\r\n\r\n", "done"), ("HTTP/1.0 204 x\r\na: b\r\n\r\n{}", "done"),
      ("HTTP/1.1 400 Bad\r\n\r\n", "refused status 400"),
      ("HTTP/1.1 500 Oops\r\n\r\n", "refused status 500"),
      ("HTTP/1.1 503 x\r\nretry-after: 7\r\n\r\n", "later status 503 7000000000"),
      ("HTTP/1.1 429 x\r\nRetry-After:3\r\n\r\n", "later status 429 3000000000"),
      (
        "HTTP/1.1 429 x\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n\r\n", "later status 429 0"
      ),
      ("HTTP/1.1 502 x\r\nRetry-After: -3\r\n\r\n", "later status 502 0"),
      ("SSH-2.0-x\r\n\r\n", "refused the response is not HTTP"),
      ("", "later the response has no head 0"),
      ("HTTP/1.1 200 OK", "later the response has no head 0"),
    ])
  func answers(_ text: String, _ expected: String) {
    let found =
      switch Collector.result(Array(text.utf8)) {
      case .done: "done"
      case .refused(let reason): "refused \(reason)"
      case .later(let reason, let wait): "later \(reason) \(wait)"
      }
    #expect(found == expected)
  }

  @Test("a trace that comes along keeps its decision, and identifiers are never 0")
  func decisions() throws {
    let feed = try LineFeed(workers: 1, capacity: 1024)
    var driver = TraceDriver(
      TraceParameters(source: feed.source(0), samplePerMillion: 1_000_000, seed: 1))
    var own = TraceContext()
    driver.begin(&own)
    #expect(!own.isEmpty && own.span != 0 && own.isSampled && own.parent == 0)
    let field = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
    for (flag, isTraced) in [("0", false), ("1", true)] {
      var trace = TraceContext(parsing: value(field + flag))
      driver.begin(&trace)
      #expect((trace.span != 0) == isTraced)
      #expect(trace.high == 0x0af7_6519_16cd_43dd)
    }
    let noField = driver.field(of: TraceContext()).count
    let ownField = driver.field(of: own).count
    #expect(noField == 0 && ownField == TraceContext.fieldBytes)
    var none = TraceDriver(nil)
    var trace = TraceContext(parsing: value(field + "1"))
    none.begin(&trace)
    #expect(trace.span == 0)
  }
}
