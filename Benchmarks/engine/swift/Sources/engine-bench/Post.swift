// Messages from one engine to another and back, each on a thread of its own.

import Glibc
import MillraceEngine

/// The other engine's mailbox, handed over once before the first message.
private final class Meeting: @unchecked Sendable {
  // Sendable: written by one thread before `ready` is posted, read by the other after.
  var near: Mailbox?
  var far: Mailbox?
  var nearReady = sem_t()
  var farReady = sem_t()

  init() {
    sem_init(&nearReady, 0, 0)
    sem_init(&farReady, 0, 0)
  }
}

/// Sends back what comes, until the thread's process ends.
private func answer<E: Engine & ~Copyable>(_: E.Type, _ meeting: Meeting) {
  guard var engine = try? make(E.self, options()) else { fatalError("no second engine") }
  meeting.far = engine.mailbox
  sem_post(&meeting.farReady)
  sem_wait(&meeting.nearReady)
  let near = meeting.near!
  while true {
    engine.wait(until: nil)
    while let completion = engine.next() {
      guard completion.token.rawValue == 1 else { continue }
      engine.post(completion.result, Token(rawValue: 1), to: near, Token(rawValue: 2))
    }
  }
}

/// `post SECONDS`: round trips, the CPU time of both threads.
func measurePost<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard let seconds = words.first.flatMap(Double.init) else { throw Usage() }
  let meeting = Meeting()
  var engine = try make(E.self, options())
  meeting.near = engine.mailbox
  _ = try WorkerThread.start(name: "answer", cpu: nil) { answer(E.self, meeting) }
  sem_wait(&meeting.farReady)
  sem_post(&meeting.nearReady)
  let far = meeting.far!
  let (cpu, wall) = (ownCPU(), wallClock())
  var operations = 0
  while wallClock() - wall < Int64(seconds * 1e9) {
    engine.post(1, Token(rawValue: 1), to: far, Token(rawValue: 2))
    // Its own completion, and the answer.
    for _ in 0..<2 { _ = waitForOne(&engine) }
    operations += 1
  }
  report(operations, cpu: ownCPU() - cpu, wall: wallClock() - wall)
  exit(0)
}
