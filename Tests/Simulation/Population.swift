// Who runs in a world: servers, clients with their request scripts, attackers, all drawn by the dice. What
// would excuse a request from being served is written down here, when it is drawn, and nowhere
// later but by whoever does something to it.

import Configuration
import MillraceEngine

extension ProxyRun {
  func populate() {
    for (group, upstream) in runConditions.configuration.upstreams.enumerated() {
      for index in upstream.servers.indices {
        var behavior = OriginBehavior()
        if runConditions.hasFaults && dice.chance(250) {
          if dice.chance(500) { behavior.requestsPerConnection = 1 + dice.roll(4) }
          if dice.chance(500) { behavior.idleClose = Int64(1 + dice.roll(200)) * 1_000_000 }
        }
        if dice.chance(200) { behavior.pace = drawPace() }
        let origin = Origin(
          self, group: group, address: serverAddresses[group][index], behavior,
          serverContexts[group], drawStreams(group), dice: dice.split())
        origins.append(origin)
        origin.open()
        if !behavior.isSteady || origin.streams?.isSteady == false { unsteady[group] = true }
        if runConditions.hasFaults && dice.chance(100) { haveOutage(origin) }
      }
    }
    for number in 0..<runConditions.clients {
      let listener = dice.roll(listenerAddresses.count)
      if runConditions.servesHTTP2[listener] && dice.chance(700) {
        addStreamClient(number, listener)
      } else {
        addClient(number, listener)
      }
    }
    let raw = RequestScript(id: Self.hostileID)
    raw.isRaw = true
    raw.group = 0
    raw.answers = [drawAnswer()]
    if raw.answer.endsConnection && runConditions.speaksHTTP2[0] { unsteady[0] = true }
    book[Self.hostileID] = raw
    for number in 0..<runConditions.attackers { addAttacker(number) }
    for script in scripts {
      if let group = script.group, unsteady[group] { script.excuse("a server that closes at will") }
      if !runConditions.isGentle { script.excuse("a rough world") }
    }
  }

  /// The server is away for a while: no client listens, and its connections are reset.
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
    let least = max(16, runConditions.largest / 200)
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
    case 6...8: dice.roll(min(runConditions.largest, 40_000))
    default: dice.roll(runConditions.largest)
    }
  }

  // MARK: Clients

  private func addClient(_ number: Int, _ listener: Int) {
    var behavior = ClientBehavior()
    behavior.depth = dice.chance(400) ? 1 + dice.roll(6) : 1
    behavior.thinkTime = dice.chance(300) ? Int64(dice.roll(300)) * 1_000_000 : 0
    behavior.goodbye = [.closes, .halfCloses, .waits][dice.roll(3)]
    if dice.chance(300) { behavior.pace = drawPace() }
    if dice.chance(200) {
      behavior.clientFault = [.resets, .vanishes, .closes, .halfCloses][dice.roll(4)]
      behavior.clientFaultAt = Int64(dice.roll([2, 40, 600][dice.roll(3)]) + 1) * 500_000
    }
    let isSlow = behavior.pace.writeGap > 0 || behavior.pace.readGap > 0
    let drawn = (0...dice.roll(8)).map { _ in drawScript(isSlow: isSlow) }
    scripts += drawn
    for script in drawn { book[script.id] = script }
    let client = Client(
      self, number: number, listener: listener, drawn, behavior,
      host: "sim.example", dice: dice.split())
    clients.append(client)
    alive += 1
    starts.append(({ client.start() }, Int64(dice.roll(200_000)) * 1_000))
  }

  func drawScript(isSlow: Bool) -> RequestScript {
    nextID += 1
    let script = RequestScript(id: nextID)
    let group = dice.roll(runConditions.configuration.upstreams.count)
    script.group = group
    script.target = "/u\(group)/\(script.id)"
    if dice.chance(200) { script.target += "?q=\(dice.roll(1000))" }
    script.method =
      ["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"][
        dice.roll(10)]
    script.isOld = dice.chance(80)
    script.closes = dice.chance(80)
    if ["POST", "PUT", "PATCH"].contains(script.method) || dice.chance(50) {
      let size = drawSize()
      script.body = dice.chance(400) && !script.isOld ? .chunked(size) : .length(size)
      script.expects = !script.isOld && size > 0 && dice.chance(200)
    }
    if dice.chance(60) {
      script.group = nil
      script.target = "/nowhere/\(script.id)"
      script.expectedLabel = "no_route"
      script.body = .none
      script.expects = false
      if dice.chance(300) {
        script.method = "TRACE"
        script.expectedLabel = "method_refused"
      }
    }
    script.answers = (0...dice.roll(2)).map { _ in drawAnswer() }
    if script.answers.contains(where: { $0.fault != .none }) {
      script.excuse("a server's fault")
      if let group = script.group {
        let isShared = runConditions.speaksHTTP2[group]
        if script.answers.contains(where: { isShared ? $0.endsConnection : $0.fault == .surplus }) {
          unsteady[group] = true
        }
      }
    }
    if script.body.size > 0 && script.answers.contains(where: { $0.isEarly }) && isSlow {
      script.excuse("an early answer to a slow client")
    }
    return script
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
      answer.pieceBytes = max(1 + dice.roll(3_000), runConditions.largest / 100)
      answer.pieceGap = Int64(dice.roll(30)) * 1_000_000
    }
    guard runConditions.hasFaults, dice.chance(150) else { return answer }
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
    answer.sparesOthers = dice.chance(700)
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
    if runConditions.servesHTTP2[listener] && dice.chance(700) {
      return add(
        Hostile(self, number: number, listener: listener, drawStreamAttack(), dice: dice.split()))
    }
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
    add(Hostile(self, number: number, listener: listener, attack, dice: dice.split()))
  }

  private func add(_ attacker: Hostile) {
    attackers.append(attacker)
    alive += 1
    starts.append(({ attacker.start() }, Int64(dice.roll(300_000)) * 1_000))
  }
}
