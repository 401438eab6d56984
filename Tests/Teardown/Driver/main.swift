// Ends engines in the middle of everything, as often as asked, so that a sanitizer or a fault of
// memory can speak.
//
//   teardown io_uring|epoll|simulated ROUNDS [SEED] [basic]

import Glibc
import MillraceEngine
import TeardownMix

func complain(_ text: String, _ status: Int32) -> Never {
  _ = text.withCString { Glibc.write(2, $0, strlen($0)) }
  exit(status)
}

let arguments = CommandLine.arguments
guard arguments.count >= 3, let kind = EngineKind(rawValue: arguments[1]),
  let rounds = Int(arguments[2])
else { complain("usage: teardown io_uring|epoll|simulated ROUNDS [SEED] [basic]\n", 64) }
let firstSeed = arguments.count > 3 ? UInt64(arguments[3]) ?? 1 : 1
let deeds = arguments.contains("basic") ? Deed.basic : Deed.allCases

do {
  let begun = try tearDown(kind, rounds: rounds, from: firstSeed, deeds)
  print("teardown \(kind.rawValue): rounds=\(rounds) operations=\(begun)")
} catch {
  complain("teardown: \(error)\n", 1)
}
