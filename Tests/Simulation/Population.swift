// Who lives in a world: servers, clients with their errands, attackers, all drawn by the dice. What
// would excuse a request from being served is written down here, when it is drawn, and nowhere
// later but by whoever does something to it.

import Configuration
import MillraceEngine

extension Life {
  func populate() {
    for (group, upstream) in circumstances.configuration.upstreams.enumerated() {
      for index in upstream.servers.indices {
        var manners = OriginManners()
        if circumstances.hasFaults && dice.chance(250) {
          if dice.chance(500) { manners.requestsPerConnection = 1 + dice.roll(4) }
          if dice.chance(500) { manners.idleClose = Int64(1 + dice.roll(200)) * 1_000_000 }
        }
        if dice.chance(200) { manners.pace = drawPace() }
        let origin = Origin(
          self, group: group, address: serverAddresses[group][index], manners,
          serverContexts[group], dice: dice.split())
        origins.append(origin)
        origin.open()
        if !manners.isSteady { unsteady[group] = true }
        if circumstances.hasFaults && dice.chance(100) { haveOutage(origin) }
      }
    }
    for number in 0..<circumstances.clients { addClient(number) }
    let raw = Errand(id: Self.hostileID)
    raw.isRaw = true
    raw.group = 0
    raw.answers = [drawAnswer()]
    book[Self.hostileID] = raw
    for number in 0..<circumstances.attackers { addAttacker(number) }
    for errand in errands {
      if let group = errand.group, unsteady[group] { errand.excuse("a server that closes at will") }
      if !circumstances.isGentle { errand.excuse("a rough world") }
    }
  }

  /// The server is away for a while: nobody listens, and its connections are reset.
  private func haveOutage(_ origin: Origin) {
    unsteady[origin.group] = true
    let start = Int64(1 + dice.roll(400)) * 1_000_000
    let length = Int64(1 + dice.roll(2_000)) * 1_000_000
    after(start) { [unowned self] in
      note("a server of \(origin.group) goes away")
      origin.shut()
      origin.resetAll()
    }
    after(start + length) { [unowned self] in
      if !isDead { origin.open() }
    }
  }

  func drawPace() -> Pace {
    var pace = Pace()
    // Slow, but never so slow that a message of the largest size takes minutes.
    let least = max(16, circumstances.largest / 200)
    if dice.chance(500) {
      pace.writeBytes = least + dice.roll(4_096)
      pace.writeGap = Int64(1 + dice.roll(20_000)) * 1_000
    }
    if dice.chance(500) {
      pace.readBytes = least + dice.roll(16_384)
      pace.readGap = Int64(1 + dice.roll(20_000)) * 1_000
    }
    return pace
  }

  private func drawSize() -> Int {
    switch dice.roll(10) {
    case 0: 0
    case 1...5: dice.roll(2_000)
    case 6...8: dice.roll(min(circumstances.largest, 40_000))
    default: dice.roll(circumstances.largest)
    }
  }

  // MARK: Clients

  private func addClient(_ number: Int) {
    var manners = Manners()
    manners.depth = dice.chance(400) ? 1 + dice.roll(6) : 1
    manners.thinkTime = dice.chance(300) ? Int64(dice.roll(300)) * 1_000_000 : 0
    manners.goodbye = [.closes, .halfCloses, .waits][dice.roll(3)]
    if dice.chance(300) { manners.pace = drawPace() }
    if dice.chance(200) {
      manners.whim = [.resets, .vanishes, .closes, .halfCloses][dice.roll(4)]
      manners.whimAt = Int64(dice.roll([2, 40, 600][dice.roll(3)]) + 1) * 500_000
    }
    let isSlow = manners.pace.writeGap > 0 || manners.pace.readGap > 0
    let script = (0...dice.roll(8)).map { _ in drawErrand(isSlow: isSlow) }
    errands += script
    for errand in script { book[errand.id] = errand }
    let client = Client(
      self, number: number, listener: dice.roll(listenerAddresses.count), script, manners,
      host: "sim.example", dice: dice.split())
    clients.append(client)
    alive += 1
    starts.append(({ client.start() }, Int64(dice.roll(200_000)) * 1_000))
  }

  private func drawErrand(isSlow: Bool) -> Errand {
    nextID += 1
    let errand = Errand(id: nextID)
    let group = dice.roll(circumstances.configuration.upstreams.count)
    errand.group = group
    errand.target = "/u\(group)/\(errand.id)"
    if dice.chance(200) { errand.target += "?q=\(dice.roll(1000))" }
    errand.method =
      ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"][
        dice.roll(10)]
    errand.isOld = dice.chance(80)
    errand.closes = dice.chance(80)
    if ["POST", "PUT", "PATCH"].contains(errand.method) || dice.chance(50) {
      let size = drawSize()
      errand.body = dice.chance(400) && !errand.isOld ? .chunked(size) : .length(size)
      errand.expects = !errand.isOld && size > 0 && dice.chance(200)
    }
    if dice.chance(60) {
      errand.group = nil
      errand.target = "/nowhere/\(errand.id)"
      errand.expectedLabel = "no_route"
      errand.body = .none
      errand.expects = false
      if dice.chance(300) {
        errand.method = "TRACE"
        errand.expectedLabel = "method_refused"
      }
    }
    errand.answers = (0...dice.roll(2)).map { _ in drawAnswer() }
    if errand.answers.contains(where: { $0.fault != .none }) {
      errand.excuse("a server's fault")
      if let group = errand.group, errand.answers.contains(where: { $0.fault == .surplus }) {
        unsteady[group] = true
      }
    }
    if errand.body.size > 0 && errand.answers.contains(where: { $0.isEarly }) && isSlow {
      errand.excuse("an early answer to a slow client")
    }
    return errand
  }

  private func drawAnswer() -> Answer {
    var answer = Answer()
    answer.status = [200, 200, 200, 200, 201, 204, 304, 404, 500, 302][dice.roll(10)]
    answer.framing = [.length, .length, .chunked, .chunked, .untilClose][dice.roll(5)]
    answer.size = drawSize()
    if answer.status == 204 || answer.status == 304 {
      answer.framing = .length
      answer.size = 0
    }
    if dice.chance(100) { answer.interims = [[103], [102, 103], [100]][dice.roll(3)] }
    answer.hasTrailers = dice.chance(300)
    answer.isEarly = dice.chance(60)
    answer.closes = dice.chance(100)
    answer.isOld = answer.framing != .chunked && dice.chance(100)
    answer.delay = dice.chance(300) ? Int64(dice.roll(800)) * 1_000_000 : 0
    if dice.chance(200) {
      answer.pieceBytes = max(1 + dice.roll(3_000), circumstances.largest / 100)
      answer.pieceGap = Int64(dice.roll(30)) * 1_000_000
    }
    guard circumstances.hasFaults, dice.chance(150) else { return answer }
    switch dice.roll(12) {
    case 0: answer.fault = .hangs
    case 1: answer.fault = .resetsBefore
    case 2: answer.fault = .closesBefore
    case 3, 4: answer.fault = .stops(after: dice.roll(1 << 20))
    case 5, 6: answer.fault = .resets(after: dice.roll(1 << 20))
    case 7: answer.fault = .garbage(dice.roll(Garbage.responses))
    case 8: answer.fault = .surplus
    case 9: answer.fault = dice.chance(500) ? .upgrades : .interimFlood
    case 10: answer.fault = .endlessHead
    default: answer.fault = .vanishes
    }
    if answer.framing == .untilClose {
      switch answer.fault {
      // Nobody could tell these from a good end.
      case .stops, .surplus: answer.framing = .length
      default: break
      }
    }
    return answer
  }

  // MARK: Attackers

  private func addAttacker(_ number: Int) {
    let attack: Attack
    let listener = dice.roll(listenerAddresses.count)
    switch dice.roll(18) {
    case 0...4: attack = .garbage(dice.roll(Garbage.requests))
    case 5: attack = .hiddenInContent
    case 6: attack = .endlessHead
    case 7: attack = .halfHead
    case 8: attack = .halfContent
    case 9: attack = .noise(1 + dice.roll(5_000))
    case 10: attack = .flood(1 + dice.roll(300))
    case 11: attack = .crowd(1 + dice.roll(20))
    case 12: attack = .halfHandshake(dice.roll(600))
    case 13: attack = .hitAndRun(1 + dice.roll(20))
    case 14, 15: attack = .keyUpdates(1 + dice.roll(400))
    case 16: attack = .noiseBehindHandshake(1 + dice.roll(5_000))
    default: attack = dice.chance(500) ? .flippedByte(dice.roll(1_200)) : .handshakeOnly
    }
    let attacker = Hostile(self, number: number, listener: listener, attack, dice: dice.split())
    attackers.append(attacker)
    alive += 1
    starts.append(({ attacker.start() }, Int64(dice.roll(300_000)) * 1_000))
  }
}
