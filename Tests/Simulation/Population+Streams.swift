// What is drawn for those who speak HTTP/2: windows, streams at once, how their connections end, and how they
// attack.

import MillraceEngine

extension ProxyRun {
  private func drawWindows() -> WindowPolicy {
    var policy = WindowPolicy()
    policy.initial = [65_535, 65_535, 1 << 20, 10_000, 100, 1, 0][dice.roll(7)]
    policy.delay = dice.chance(500) ? Int64(dice.roll(200)) * 1_000_000 : 0
    policy.scanty = dice.chance(300) ? dice.roll(4) : 0
    policy.target = max(4_096, runConditions.largest / 16) + dice.roll(100_000)
    return policy
  }

  /// Times of a few moments of a connection.
  private func drawWhims() -> [Int64] {
    guard dice.chance(500) else { return [] }
    return (0...dice.roll(6)).map { _ in Int64(1 + dice.roll(800)) * 500_000 }
  }

  func drawStreams(_ group: Int) -> StreamOriginBehavior? {
    guard runConditions.speaksHTTP2[group] else { return nil }
    var behavior = StreamOriginBehavior()
    if dice.chance(500) { behavior.windows = drawWindows() }
    if dice.chance(700) { behavior.maxStreams = dice.chance(500) ? 1 + dice.roll(4) : 100 }
    behavior.whims = drawWhims()
    guard runConditions.hasFaults else { return behavior }
    if dice.chance(150) { behavior.refusals = 1 + dice.roll(300) }
    if dice.chance(200) {
      behavior.requestsPerConnection = 1 + dice.roll(6)
      behavior.goesBack = dice.chance(500)
    }
    if dice.chance(100) { behavior.cutAt = dice.roll(dice.chance(500) ? 300 : 60_000) }
    return behavior
  }

  func addStreamClient(_ number: Int, _ listener: Int) {
    var behavior = StreamClientBehavior()
    behavior.depth = 1 + dice.roll(10)
    if dice.chance(600) { behavior.windows = drawWindows() }
    if dice.chance(300) { behavior.pace = drawPace() }
    if dice.chance(250) { behavior.resets = dice.roll(400) }
    behavior.whims = drawWhims()
    behavior.goodbye = [.closes, .goesAway, .waits][dice.roll(3)]
    if dice.chance(150) {
      behavior.clientFault = [.resets, .vanishes, .closes, .halfCloses][dice.roll(4)]
      behavior.clientFaultAt = Int64(dice.roll([2, 40, 600][dice.roll(3)]) + 1) * 500_000
    }
    let isSlow = behavior.pace.writeGap > 0 || behavior.pace.readGap > 0
    let drawn = (0...dice.roll(12)).map { _ in drawScript(isSlow: isSlow) }
    for script in drawn {
      script.isOld = false
      script.closes = false
      book[script.id] = script
    }
    scripts += drawn
    let client = StreamClient(
      self, number: number, listener: listener, drawn, behavior, dice: dice.split())
    streamClients.append(client)
    alive += 1
    starts.append(({ client.start() }, Int64(dice.roll(200_000)) * 1_000))
  }

  func drawStreamAttack() -> Attack {
    switch dice.roll(7) {
    case 0: .truncatedPreface(dice.roll(60))
    case 1, 2: .strayFrames(dice.roll(StreamGarbage.broken))
    case 3: .endlessBlock(1 + dice.roll(3_000))
    case 4, 5: .frameFlood(dice.roll(StreamGarbage.floods), 1 + dice.roll(3_000))
    default: dice.chance(500) ? .leavesAtOnce : .neverEnding(1 + dice.roll(100))
    }
  }
}
