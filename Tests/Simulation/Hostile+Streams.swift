// Clients of HTTP/2 that attack: bytes as they are, which no end in good order would write.

import MillraceEngine

extension Hostile {
  func startFrames() {
    proxyRun.totals.streamAttacks += 1
    let line = openStreams()
    switch attack {
    case .truncatedPreface(let count):
      let bytes = Frame.preface + Frame.settings([(4, 0)]) + Frame.settings([(3, 9), (5, 16_384)])
      line.write(Array(bytes.prefix(count)))
      if dice.chance(500) { proxyRun.after(gap) { line.finish() } }
    case .strayFrames(let kind):
      begin(line)
      line.write(Frame.write(Frame.Kind.headers, 5, 1, head()))
      let bytes = StreamGarbage.frames(kind, 1, &dice)
      line.write(bytes)
    case .endlessBlock(let count):
      begin(line)
      line.write(Frame.write(Frame.Kind.headers, 1, 1, head()))
      let piece = dice.chance(300) ? [] : FieldBlock.write([("x-more", "0123456789")], &dice)
      for _ in 0..<count { line.write(Frame.write(Frame.Kind.continuation, 0, 1, piece)) }
    case .frameFlood(let kind, let count):
      begin(line)
      line.isDeaf = dice.chance(500)
      if kind == 5 { line.write(Frame.write(Frame.Kind.headers, 4, 1, head("POST"))) }
      flood(line, kind, count, 1)
    case .leavesAtOnce:
      begin(line)
      line.write(Frame.write(Frame.Kind.headers, 5, 1, head()))
      line.write(Frame.goAway(0, dice.roll(14)))
      if dice.chance(500) { proxyRun.after(gap) { line.finish() } }
    case .neverEnding(let count):
      line.write(Frame.preface + Frame.settings([(Frame.Setting.initialWindow, 0)]))
      for i in 0..<count {
        line.write(
          Frame.write(Frame.Kind.headers, dice.chance(500) ? 5 : 4, 2 * i + 1, head("PUT")))
      }
    default: break
    }
  }

  private func begin(_ line: Line) { line.write(Frame.preface + Frame.settings([])) }

  private func flood(_ line: Line, _ kind: Int, _ left: Int, _ stream: Int) {
    guard left > 0, !line.isOver else { return }
    let target = kind == 3 || kind == 4 ? "/nowhere" : "/u0/hostile"
    let block = head("GET", target)
    var next = stream
    for _ in 0..<min(left, 100) {
      line.write(StreamGarbage.flood(kind, next, block))
      next += 2
    }
    proxyRun.after(gap) { [unowned self] in flood(line, kind, left - 100, next) }
  }

  private func head(_ method: String = "GET", _ target: String = "/u0/hostile") -> [UInt8] {
    FieldBlock.write(
      [
        (":method", method), (":scheme", "http"), (":authority", "sim.example"), (":path", target),
        ("x-sim", "\(ProxyRun.hostileID)"),
      ], &dice)
  }

  private func openStreams() -> Line {
    let line = Line(
      proxyRun.world, to: proxyRun.listenerAddresses[listener], .prompt,
      proxyRun.streamContext(listener))
    line.onEnd = { [unowned self] _ in if lines.allSatisfy(\.isOver) { leave() } }
    lines.append(line)
    return line
  }
}
