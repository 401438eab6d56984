// What a response must be, whichever protocol brought it: the checks that clients share.

import MillraceEngine

extension ProxyRun {
  /// Looks at the head of a final response to `script`. - Returns: whether the proxy made it itself.
  func checkResponse(_ head: MessageHead, _ script: RequestScript, _ client: String) -> Bool {
    script.sawHead = true
    script.status = head.status
    let id = head.first("x-sim")
    if let id, id != "\(script.id)" {
      fail("mix-up", "\(client) asked \(script.id) and is answered \(id)")
    }
    if head.first("x-hop") != nil { fail("response", "a hop-by-hop field came through") }
    if head.all("date").count != 1 {
      fail("response", "Date is \(head.all("date")) in the answer to \(script.id)")
    }
    let via = head.all("via")
    if id != nil,
      !["1.1 millrace", "1.0 millrace", "2.0 millrace"].contains(via.first) || via.count > 1
    {
      fail("response", "Via is \(via) in the answer to \(script.id)")
    }
    if id != nil && script.arrivals == 0 {
      fail("mix-up", "\(script.id) is answered by a server that never saw it")
    }
    return id == nil
  }

  /// A response is whole. - Parameter size: bytes of content that its server meant to send.
  func settle(
    _ script: RequestScript, _ client: String, isOwn: Bool, text: [UInt8], size: Int?,
    isStream: Bool = false
  ) {
    script.settledAt = world.now
    totals.responses += 1
    if isOwn {
      let label = ownLabel(script, text, isStream)
      script.outcome = .refused(label: label)
      totals.refusals[label, default: 0] += 1
      note("\(client) got \(script.status) (\(label)) for \(script.id)")
      return
    }
    script.outcome = .served
    totals.bytes += script.contentBytes
    note("\(client) got \(script.status), \(script.contentBytes) bytes, for \(script.id)")
    if let size, script.contentBytes != size {
      fail("cut", "\(script.id) looks whole with \(script.contentBytes) of \(size) bytes")
    }
  }

  /// `502 Bad Gateway (upstream_reset)` without content to HEAD, with it otherwise.
  private func ownLabel(
    _ script: RequestScript, _ content: [UInt8], _ isStream: Bool
  ) -> String {
    // A stream without any window gets the status alone.
    if script.method == "HEAD" || (isStream && content.isEmpty) { return "head" }
    let text = String(decoding: content, as: UTF8.self)
    guard text.hasPrefix("\(script.status) "), text.hasSuffix(")\n"),
      let open = text.lastIndex(of: "(")
    else {
      fail("reason", "\(script.id) is refused without a reason: \(text.debugDescription)")
      return "none"
    }
    return String(text[text.index(after: open)...].dropLast(2))
  }

  /// A client's line has ended.
  func lineEnded(_ why: Line.End, _ client: String) {
    note("\(client) is ended: \(why)")
    switch why {
    case .refused: totals.refused += 1
    case .reset: totals.resets += 1
    case .failed: totals.tlsFailures += 1
    case .finished: break
    }
    if why == .refused && !mayRefuse { fail("refused", "\(client) is refused") }
  }
}
