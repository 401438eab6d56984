// No-operations submitted and completed in one enter: 1,000 of them are what c/nop.c does, one is
// the price of a turn.

import MillraceEngine

/// `nop SECONDS [BATCH]`.
func measureNop<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  let seconds = words.first.flatMap(Double.init) ?? 1
  let batch = words.count > 1 ? Int(words[1])! : 1000
  var options = options()
  options.submissionEntries = 1024
  options.controlOperations = max(1024, batch)
  var engine = try make(E.self, options)
  var operations = 0
  var round = 0
  var sum: UInt64 = 0
  var (started, startedWall): (Int64, Int64) = (0, 0)
  var ends: Int64 = 0
  while true {
    for i in 1...batch { engine.nop(Token(rawValue: UInt64(i))) }
    var taken = 0
    while taken < batch {
      engine.wait(until: nil)
      while let completion = engine.next() {
        sum &+= completion.token.rawValue
        taken += 1
      }
    }
    round += 1
    if round <= 200 {
      started = ownCPU()
      startedWall = wallClock()
      ends = startedWall + Int64(seconds * 1e9)
      continue
    }
    operations += batch
    if round % 64 == 0 && wallClock() > ends { break }
  }
  precondition(sum > 0)
  report(operations, cpu: ownCPU() - started, wall: wallClock() - startedWall)
}
