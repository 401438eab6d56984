// Repeats one hot operation on one engine and says what it cost per thousand completions: calls of
// malloc and free, retains and releases, exclusivity checks. Any that is not zero is a failure.
//
//   steady-state io_uring|epoll OPERATION [malloc|retain]
//
// The last argument makes each round do what must be seen: without it nobody knows that the
// counting counts. Run it through scripts/steady-state.

import Glibc
import MillraceEngine

let arguments = CommandLine.arguments
let usage = "usage: steady-state io_uring|epoll OPERATION [malloc|retain]\n"

/// Something to retain.
final class Something {}
nonisolated(unsafe) var something: Something? = Something()
nonisolated(unsafe) var elsewhere: Something?
nonisolated(unsafe) var block: UnsafeMutableRawPointer?

func fail(_ text: String, _ status: Int32) -> Never {
  _ = text.withCString { Glibc.write(2, $0, strlen($0)) }
  exit(status)
}

@inline(never)
func breakOnPurpose(_ way: String?) {
  switch way {
  case "malloc":
    // Through a variable that everybody can see: the optimiser would remove the pair.
    block = malloc(64)
    free(block)
  case "retain": elsewhere = something
  default: break
  }
}

func measure<E: Engine & ~Copyable>(_: E.Type, _ work: Work, _ way: String?) throws -> Never {
  // Never ended: the engine has operations in flight when the process leaves, and its end would say so.
  let bench = UnsafeMutablePointer<Bench<E>>.allocate(capacity: 1)
  bench.initialize(to: Bench<E>(try E(Bench<E>.options)))
  try bench.pointee.prepare(work)
  bench.pointee.isCountedAsSeen = [Work.quiet, .stream, .once].contains(work) == false
  for _ in 0..<1000 { bench.pointee.round(work) }
  // What happens once in a while, as a table that grows, is not the operation's: three rounds.
  var least: [UInt64] = []
  var completions = 0
  for _ in 0..<3 {
    let before = Figures.now()
    let start = bench.pointee.completions
    for _ in 0..<1000 {
      bench.pointee.round(work)
      if way != nil { breakOnPurpose(way) }
    }
    let cost = Figures.now().since(before)
    completions = bench.pointee.completions - start
    if least.isEmpty || cost.reduce(0, +) < least.reduce(0, +) { least = cost }
  }
  let figures = zip(Figures.names, least).map { "\($0)=\($1)" }.joined(separator: " ")
  print("\(arguments[1]) \(arguments[2]): completions=\(completions) \(figures)")
  fflush(nil)
  exit(least.allSatisfy { $0 == 0 } && completions > 0 ? 0 : 1)
}

guard arguments.count >= 3, let work = Work(rawValue: arguments[2]) else { fail(usage, 64) }
guard Figures.isCounting else {
  fail("steady-state: nobody counts; run scripts/steady-state\n", 65)
}
let way = arguments.count > 3 ? arguments[3] : nil
switch arguments[1] {
case "io_uring": try measure(Uring.self, work, way)
case "epoll": try measure(Epoll.self, work, way)
default: fail(usage, 64)
}
