import MillraceEngine

var engine = try Epoll(EngineOptions())

let alarm = Token(kind: 1, generation: 0, slot: 0)
engine.timeout(at: engine.now + 500_000_000, alarm)

var running = true
while running {
  engine.wait(until: nil)
  while let completion = engine.next() {
    running = !completion.isTerminal
    print("time is up: \(completion.token == alarm)")
  }
}
