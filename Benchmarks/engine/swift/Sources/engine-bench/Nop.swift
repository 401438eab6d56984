// 1,000 no-operations submitted and completed in one enter: what c/nop.c does.

import MillraceEngine

func measureNop<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  let seconds = words.first.flatMap(Double.init) ?? 1
  var options = options()
  options.submissionEntries = 1024
  options.controlOperations = 1024
  var engine = try E(options)
  let batch = 1000
  var operations = 0
  var round = 0
  var sum: UInt64 = 0
  var started: Int64 = 0
  var ends: Int64 = 0
  while true {
    for i in 0..<batch { engine.nop(Token(rawValue: UInt64(i))) }
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
      ends = wallClock() + Int64(seconds * 1e9)
      continue
    }
    operations += batch
    if round % 64 == 0 && wallClock() > ends { break }
  }
  precondition(sum > 0)
  report(operations, cpu: ownCPU() - started)
}
