// What a request must be that reaches a server, whichever protocol brought it, and how often it may.

import MillraceEngine

extension Origin {
  /// A request's head has come. - Returns: whose it is; nil if no client has sent it.
  func arrived(_ head: MessageHead, on line: Line) -> RequestScript? {
    guard let text = head.first("x-sim"), let id = Int(text), let script = proxyRun.book[id] else {
      proxyRun.fail("smuggled", "a server gets what nobody sent: \(head.start) \(head.fields)")
      return nil
    }
    if !script.isRaw { check(head, script) }
    if head.first("x-forwarded-for") == "" {
      proxyRun.fail("address", "a request of nobody's reaches a server: \(head.start)")
    }
    script.arrivals += 1
    // On a connection that the proxy has given up it was sent before, and has been under way for long.
    let isLate = line.peer?.remoteHasClosed ?? true
    if script.hasInterim && script.arrivals > 1 && !isLate {
      proxyRun.fail("repeated", "\(script.id) is tried again behind an interim response")
    }
    proxyRun.totals.arrivals += 1
    if script.arrivals > 1 && !script.isRaw {
      proxyRun.totals.retries += 1
      if !script.isIdempotent {
        proxyRun.fail(
          "repeated", "\(script.method) \(id) comes to a server \(script.arrivals) times")
      }
    }
    return script
  }

  /// The server has not processed a request, and says so: it may come again, whatever its method.
  func disown(_ script: RequestScript) {
    script.arrivals -= 1
    proxyRun.totals.disowned += 1
  }

  private func check(_ head: MessageHead, _ script: RequestScript) {
    let id = script.id
    func expect(_ holds: Bool, _ what: String) {
      if !holds { proxyRun.fail("request", "\(id) reaches a server with \(what)") }
    }
    expect(head.start[0] == script.method, "method \(head.start[0])")
    expect(head.start[1] == script.target, "target \(head.start[1])")
    expect(head.start[2] == (streams == nil ? "HTTP/1.1" : "HTTP/2"), "version \(head.start[2])")
    expect(head.all("host") == [script.host], "Host \(head.all("host"))")
    expect(head.first("x-hop") == nil, "a hop-by-hop field")
    expect(head.all("via").count == 1, "Via \(head.all("via"))")
    expect(head.all("x-forwarded-for").count == 1, "X-Forwarded-For")
    expect(
      head.first("x_forwarded_for") == nil && head.first("x-forwarded-user") == nil,
      "a forged field")
    expect(script.group == group, "the wrong upstream")
    let codings = head.all("transfer-encoding")
    switch script.body {
    case .none: expect(codings.isEmpty, "a coding")
    case .length(let size):
      expect(head.all("content-length") == ["\(size)"] && codings.isEmpty, "Content-Length")
    case .chunked:
      expect(
        codings == (streams == nil ? ["chunked"] : []) && head.first("content-length") == nil,
        "no chunks")
    }
  }

  /// A request is whole.
  func ended(
    _ script: RequestScript, _ contentBytes: Int, _ trailers: [(name: String, value: String)]
  ) {
    script.wholeArrivals += 1
    guard !script.isRaw else { return }
    if contentBytes != script.body.size {
      proxyRun.fail(
        "cut", "\(script.id) comes whole with \(contentBytes) of \(script.body.size) bytes")
    }
    if case .chunked = script.body {
      let expected = script.id % 3 == 0 ? ["x-trail"] : []
      if trailers.map(\.name) != expected {
        proxyRun.fail("request", "\(script.id) has the trailers \(trailers)")
      }
    }
  }
}
