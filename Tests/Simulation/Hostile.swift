// Clients that attack: what is no request, requests hidden in others, heads without an end, TLS that
// is none or breaks off, crowds that connect and say nothing. They look at nothing that comes back;
// the checks are with those whom they must not hurt.

import MillraceEngine
import TLS

enum Attack {
  /// A request that must be refused; see `Garbage.request`.
  case garbage(Int)
  /// A good request with a smuggled one in its content, where it belongs to the content.
  case hiddenInContent
  /// A head that goes on, a few bytes at a time.
  case endlessHead
  /// The beginning of a head, and then silence.
  case halfHead
  /// Half of what was announced, and then the end.
  case halfContent
  /// Bytes by the dice.
  case noise(Int)
  /// Requests to be refused, as fast as it goes, and never a byte read.
  case flood(Int)
  /// Connections that say nothing.
  case crowd(Int)
  /// A ClientHello that breaks off after so many bytes.
  case halfHandshake(Int)
  /// A byte of the stream is flipped.
  case flippedByte(Int)
  /// A request and a reset right behind it, so often.
  case hitAndRun(Int)
  /// A request for much, then so many KeyUpdates, and from then on never a byte read.
  case keyUpdates(Int)
  /// So many bytes of noise behind a handshake, in the place of records, and never a byte read.
  case noiseBehindHandshake(Int)
  /// TLS that is finished by a reset, a handshake and nothing more.
  case handshakeOnly
  /// The beginning of HTTP/2, so many bytes of it, and then silence or the end.
  case truncatedPreface(Int)
  /// A request over HTTP/2, and frames that must not be; see `StreamGarbage.frames`.
  case strayFrames(Int)
  /// A field block of so many CONTINUATION frames, without an end.
  case endlessBlock(Int)
  /// So many frames of a kind that gets nothing done, and perhaps never a byte read.
  case frameFlood(Int, Int)
  /// GOAWAY behind a request.
  case leavesAtOnce
  /// So many requests that never end, whose windows never open.
  case neverEnding(Int)
}

final class Hostile {
  unowned let proxyRun: ProxyRun
  private let number: Int
  let attack: Attack
  let listener: Int
  var dice: SimulatedDice
  var lines: [Line] = []
  private var isOver = false
  let gap: Int64

  init(_ proxyRun: ProxyRun, number: Int, listener: Int, _ attack: Attack, dice: SimulatedDice) {
    self.proxyRun = proxyRun
    self.number = number
    self.listener = listener
    self.attack = attack
    self.dice = dice
    gap = Int64(1 + self.dice.roll(2_000_000))
  }

  /// As `Client.die`.
  func die() {
    isOver = true
    for line in lines { line.reset() }
  }

  func start() {
    guard !isOver else { return }
    proxyRun.totals.attacks += 1
    proxyRun.note("attacker \(number): \(attack)")
    // Nobody attacks for ever.
    proxyRun.after(Int64(1 + dice.roll(30)) * 1_000_000_000) { [unowned self] in leave() }
    switch attack {
    case .garbage(let kind):
      open().write(Garbage.request(kind, hidden: ProxyRun.hiddenID))
    case .hiddenInContent: hide()
    case .endlessHead:
      let line = open()
      line.write(Array("GET /u0/hostile HTTP/1.1\r\nHost: sim.example\r\n".utf8))
      drip(line, Array("X-More: 0123456789\r\n".utf8), 20_000)
    case .halfHead:
      open().write(Array("GET /u0/hostile HTTP/1.1\r\nHo".utf8))
    case .halfContent:
      let line = open()
      line.write(request("Content-Length: 5000"))
      line.write(Content.bytes(ProxyRun.hostileID, .request, from: 0, count: 2500))
      proxyRun.after(gap) { line.finish() }
    case .noise(let count):
      let line = open(dice.chance(500))
      line.write(dice.bytes(count))
    case .flood(let count):
      let line = Line(
        proxyRun.world, to: proxyRun.listenerAddresses[listener],
        Pace(readBytes: 1, readGap: 3_600_000_000_000), proxyRun.clientContext(listener))
      lines.append(line)
      for _ in 0..<count {
        line.write(Array("GET /nowhere HTTP/1.1\r\nHost: nobody.example\r\n\r\n".utf8))
      }
      line.onEnd = { [unowned self] _ in leave() }
    case .crowd(let count): for _ in 0..<count { _ = open() }
    case .halfHandshake(let place): halfHandshake(place)
    case .flippedByte(let place):
      let line = open()
      line.corruptAt = place
      line.write(Array("GET /nowhere HTTP/1.1\r\nHost: nobody.example\r\n\r\n".utf8))
    case .hitAndRun(let count):
      for _ in 0..<count {
        let line = open(true)
        line.onConnected = {
          line.write(Array("GET /nowhere HTTP/1.1\r\nHost: nobody.example\r\n\r\n".utf8))
          line.reset()
        }
      }
    case .keyUpdates(let count):
      let line = open()
      line.onDrained = { [unowned self] in
        guard line.speaksTLS, !line.isDeaf else { return }
        line.isDeaf = true
        line.write(
          Array(
            "GET /u0/hostile HTTP/1.1\r\nHost: sim.example\r\nX-Sim: \(ProxyRun.hostileID)\r\n\r\n"
              .utf8
          ))
        updateKeys(line, count)
      }
    case .noiseBehindHandshake(let count):
      let line = open()
      line.onDrained = { [unowned self] in
        guard line.speaksTLS, !line.isDeaf else { return }
        line.isDeaf = true
        line.writeRaw(dice.bytes(count))
      }
    case .handshakeOnly:
      let line = open()
      proxyRun.after(gap) { line.reset() }
    case .truncatedPreface, .strayFrames, .endlessBlock, .frameFlood, .leavesAtOnce, .neverEnding:
      startFrames()
    }
  }

  private func request(_ field: String) -> [UInt8] {
    Array(
      "POST /u0/hostile HTTP/1.1\r\nHost: sim.example\r\nX-Sim: \(ProxyRun.hostileID)\r\n\(field)\r\n\r\n"
        .utf8)
  }

  private func open(_ plain: Bool = false) -> Line {
    let line = Line(
      proxyRun.world, to: proxyRun.listenerAddresses[listener], .prompt,
      plain ? nil : proxyRun.clientContext(listener))
    line.onEnd = { [unowned self] _ in if lines.allSatisfy(\.isOver) { leave() } }
    lines.append(line)
    return line
  }

  private func drip(_ line: Line, _ bytes: [UInt8], _ left: Int) {
    guard left > 0, !line.isOver else { return }
    line.write(bytes)
    proxyRun.after(gap) { [unowned self] in drip(line, bytes, left - 1) }
  }

  private func updateKeys(_ line: Line, _ left: Int) {
    guard left > 0, !line.isOver else { return }
    line.updateKeys()
    proxyRun.totals.keyUpdates += 1
    proxyRun.after(gap) { [unowned self] in updateKeys(line, left - 1) }
  }

  private func hide() {
    let inner = Array(
      "GET /hidden HTTP/1.1\r\nHost: sim.example\r\nX-Sim: \(ProxyRun.hiddenID)\r\n\r\n".utf8)
    let line = open()
    if dice.chance(500) {
      line.write(request("Content-Length: \(inner.count)"))
      line.write(inner)
    } else {
      line.write(request("Transfer-Encoding: chunked"))
      line.write(Array((String(inner.count, radix: 16) + "\r\n").utf8) + inner)
      line.write(Array("\r\n0\r\n\r\n".utf8))
    }
  }

  private func halfHandshake(_ place: Int) {
    guard let context = proxyRun.clientContext(listener),
      var session = TLSSession(client: context, host: "sim.example")
    else { return leave() }
    let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 4096, alignment: 16)
    defer { area.deallocate() }
    let empty = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    let made = session.receive(UnsafeRawBufferPointer(empty), plaintext: empty, output: area)
    let line = open(true)
    line.write(Array(area[..<min(place, made.output)]))
    if dice.chance(500) { proxyRun.after(gap) { line.finish() } }
  }

  func leave() {
    guard !isOver else { return }
    isOver = true
    for line in lines where !line.isOver {
      switch dice.roll(3) {
      case 0: line.reset()
      case 1: line.vanish()
      default: line.close()
      }
    }
    proxyRun.clientIsOver()
  }
}
