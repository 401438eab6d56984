// The live view: rates and percentiles of two looks, and lines that fit.

import Testing

@testable import Admin

private func status(
  _ time: Int64, requests: Int, pid: Int = 7, counts: String = "[0,0,0]", servers: Int = 1,
  name: String = "web"
) -> JSONValue {
  let list = (0..<servers).map { i in
    "{\"address\":\"10.0.0.\(i):80\",\"state\":\"up\",\"requests\":\(requests * (i + 1)),"
      + "\"failures\":0,\"active\":\(i),\"idle\":2,\"responses\":{\"5xx\":\(requests / 10)}}"
  }
  let text = """
    {"version":"1","pid":\(pid),"phase":"serving","uptime_seconds":100.0,"now_nanoseconds":\(time),
    "generation":1,"engine":{"kind":"epoll"},"process":{"cpu_seconds":0.5,"resident_bytes":1048576},
    "totals":{"requests":\(requests),"exchanges":3,"connections":4,"retries":0},
    "latency_bounds_seconds":[0.001,0.01],
    "listeners":[{"responses":{"2xx":\(requests),"5xx":0}}],
    "workers":[{"worker":0,"requests":\(requests),"turns":\(requests),"completions":\(requests * 3),"connections":4},
     {"worker":1,"requests":0,"turns":0,"completions":0,"connections":0}],
    "upstreams":[{"name":"\(name)","duration":{"counts":\(counts)},"servers":[\(list.joined(separator: ","))]}],
    "terminations":{"complete":\(requests),"response_timeout":\(requests / 5)},
    "limits":{"connections":{"use":4,"limit":100}},"audit":null}
    """
  guard let value = JSONValue(parsing: Array(text.utf8)) else { preconditionFailure(text) }
  return value
}

@Suite("The live view")
struct TopViewTests {
  private let interval = StatusInterval(
    from: status(1_000_000_000, requests: 100),
    to: status(3_000_000_000, requests: 300, counts: "[100,100,0]"))

  @Test("rates are by the second between the two looks")
  func rates() {
    #expect(interval.rate("totals", "requests") == 100)
    #expect(interval.responses("2xx") == 100)
    #expect(interval.servers[0].requests == 100 && interval.servers[0].errors == 10)
    #expect(interval.workers[0].turns == 100 && interval.workers[0].completionsPerTurn == 3)
    #expect(interval.workers[1].completionsPerTurn == 0)
    #expect(interval.terminations.map(\.reason) == ["response_timeout"])
    #expect(interval.rate("no", "such") == 0)
  }

  @Test("a proxy that was started anew counts from zero, and none has passed without a look before")
  func restarted() {
    let other = StatusInterval(
      from: status(1_000_000_000, requests: 1000, pid: 6), to: status(3_000_000_000, requests: 200))
    #expect(other.rate("totals", "requests") == 2)
    let fallen = StatusInterval(
      from: status(1_000_000_000, requests: 1000), to: status(2_000_000_000, requests: 200))
    #expect(fallen.rate("totals", "requests") == 0)
    #expect(StatusInterval(from: nil, to: .null).percentile(0.5) == nil)
  }

  @Test("what a reload brings back has not grown by all that it had before")
  func broughtBack() {
    let found = StatusInterval(
      from: status(1_000_000_000, requests: 0, name: "other"),
      to: status(2_000_000_000, requests: 100, counts: "[100,0,0]", name: "web"))
    #expect(found.percentile(0.5) == nil)
  }

  @Test("percentiles lie within their bucket, and beyond the last bound at it")
  func percentiles() throws {
    #expect(try #require(interval.percentile(0.5)) == 0.001)
    #expect(abs(try #require(interval.percentile(0.75)) - 0.0055) < 1e-9)
    #expect(StatusInterval.percentile(0.5, [0, 0, 4], [0.001, 0.01]) == 0.01)
    #expect(StatusInterval.percentile(0.5, [0, 0, 0], [0.001, 0.01]) == nil)
    #expect(StatusInterval.percentile(0.5, [1], []) == nil)
  }

  @Test(
    "no line is wider than the terminal and none too many",
    arguments: [(80, 24), (40, 10), (20, 3), (1, 1), (200, 60), (80, 0)])
  func fits(_ width: Int, _ height: Int) {
    let many = StatusInterval(
      from: nil, to: status(1, requests: 500, servers: 300, name: "a\\u001b[31mlong name"))
    for view in [TopView(), typing()] {
      let lines = view.lines(many, width: width, height: height)
      #expect(lines.count == max(height, 1))
      #expect(lines.allSatisfy { $0.count <= width })
      #expect(lines.allSatisfy { $0.unicodeScalars.allSatisfy { $0.value >= 0x20 } })
    }
  }

  private func typing() -> TopView {
    var view = TopView()
    view.isTyping = true
    view.filter = "10.0"
    return view
  }

  @Test("servers are in the order that was asked for, and filtered by name")
  func order() {
    let many = StatusInterval(from: nil, to: status(1, requests: 500, servers: 3))
    func names(_ view: TopView) -> [String] {
      view.lines(many, width: 80, height: 24).filter { $0.hasPrefix("web/") }.map {
        String($0.prefix { $0 != " " })
      }
    }
    var view = TopView()
    #expect(names(view) == ["web/10.0.0.2:80", "web/10.0.0.1:80", "web/10.0.0.0:80"])
    view.sort = .name
    #expect(names(view) == ["web/10.0.0.0:80", "web/10.0.0.1:80", "web/10.0.0.2:80"])
    view.filter = "0.1:"
    #expect(names(view) == ["web/10.0.0.1:80"])
    #expect(TopSort.allCases.map(\.next) == [.errors, .active, .name, .requests])
  }

  @Test("the line of a pipe has every figure by name")
  func pipe() {
    #expect(
      TopView.line(interval, time: "T")
        == "T requests=100.0 2xx=100.0 3xx=0.0 4xx=0.0 5xx=0.0 p50_ms=1.000 p99_ms=9.820 active=3"
        + " connections=4 retries=0.0 upstream_failures=0.0 cpu_percent=0.0")
  }

  @Test("numbers of any size are written")
  func numbers() {
    #expect(TopView.fixed(.nan, 1) == "?" && TopView.fixed(1e300, 0) == "?")
    #expect(TopView.fixed(-1.25, 2) == "-1.25" && TopView.fixed(0.05, 3) == "0.050")
    #expect(TopView.rate(123_456) == "123k" && TopView.rate(2_500_000) == "2.5M")
    #expect(TopView.time(0.000_05) == "50us" && TopView.time(0.0025) == "2.50ms")
    #expect(TopView.time(2) == "2.00s" && TopView.time(nil) == "-")
    #expect(TopView.uptime(90_061) == "1d1h" && TopView.uptime(61) == "1m1s")
  }
}
