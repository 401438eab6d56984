// The loop of the engine's thread: commands in, completions out, one turn after another. It owns the
// engine and everything that is open. It ends when everything that was under way has ended: a
// drain, because memory in the kernel's hands cannot be freed.
//
// How it works:
// 1. Commands are taken in one piece per turn; each starts an operation, or waits in a list here.
// 2. Each operation of the engine has a token: what it is, and the id of what it belongs to. Ids are
//    never used twice, so a completion that comes late finds nothing and harms nobody.
// 3. A completion finishes the ticket that waits for it and starts what waited behind it.
// 4. Once the end is asked for, everything is closed, and the loop goes on until nothing is left.

import MillraceEngine

/// What an operation of the engine was, in the top byte of its token.
enum Step: UInt8 {
  case accept = 1, connect, receive, send, file
}

struct Loop<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  let core: Core
  var connections: [UInt64: ConnectionState] = [:]
  var listeners: [UInt64: ListenerState] = [:]
  /// Listeners that do not accept until this many nanoseconds: there were no descriptors.
  var pausedUntil: Int64?
  var files: [UInt64: FileState] = [:]
  /// File operations that wait for their turn, and those that the engine has, by id.
  var fileQueue: [FileRequest] = []
  var fileRequests: [UInt64: FileRequest] = [:]
  var timers = TimerHeap()
  /// Operations of the engine without a terminal completion.
  var inFlight = 0
  var isEnding = false
  private var lastID: UInt64 = 0

  init(_ engine: consuming E, _ core: Core) {
    self.engine = engine
    self.core = core
  }

  mutating func run() {
    var commands: [Command] = []
    while !(isEnding && inFlight == 0 && connections.isEmpty && listeners.isEmpty && files.isEmpty)
    {
      core.takeCommands(&commands)
      for command in commands { obey(command) }
      if isEnding && inFlight == 0 { continue }
      engine.wait(until: earliestDeadline())
      while let completion = engine.next() { handle(completion) }
      fireTimers()
    }
    // Closes that were submitted in the last turn leave with this one.
    engine.wait(until: 0)
    core.takeCommands(&commands)
    for command in commands { refuse(command) }
  }

  private func earliestDeadline() -> Int64? {
    switch (timers.earliest, pausedUntil) {
    case (let timer?, let pause?): min(timer, pause)
    case (let timer, let pause): timer ?? pause
    }
  }

  mutating func newID() -> UInt64 {
    lastID += 1
    return lastID
  }

  /// - Parameter id: 56 bits of it, which last for longer than any machine.
  func token(_ step: Step, _ id: UInt64) -> Token {
    Token(rawValue: UInt64(step.rawValue) << 56 | id)
  }

  // MARK: Commands

  private mutating func obey(_ command: Command) {
    switch command {
    case .listen(let ticket, let address, let backlog, let reusePort):
      listen(ticket, address, backlog, reusePort)
    case .accept(let ticket, let id): accept(ticket, id)
    case .connect(let ticket, let address): connect(ticket, address)
    case .receive(let ticket, let id): receive(ticket, id)
    case .send(let ticket, let id, let bytes, let finishes):
      send(SendRequest(ticket, bytes, finishes), id)
    case .open(let ticket, let path, let flags, let mode):
      submit(FileRequest(newID(), ticket, .open(path, flags, mode), file: nil))
    case .file(let ticket, let id, let work): use(ticket, id, work)
    case .sleep(let ticket, let deadline):
      ticket.place = .sleep
      timers.insert(deadline, ticket)
    case .counters(let ticket): finish(ticket, .success(.counters(engine.counters)))
    case .cancel(let ticket): cancel(ticket)
    case .close(let ticket, let kind, let id): close(kind, id, ticket)
    case .abandon(let kind, let id): close(kind, id, nil)
    case .end: end()
    }
  }

  private mutating func close(_ kind: Kind, _ id: UInt64, _ ticket: Ticket?) {
    switch kind {
    case .connection: closeConnection(id, ticket)
    case .listener: closeListener(id, ticket)
    case .file: closeFile(id, ticket)
    }
  }

  private mutating func cancel(_ ticket: Ticket) {
    ticket.isCancelled = true
    switch ticket.place {
    case .nowhere: break
    case .accept(let id): cancelAccept(ticket, id)
    case .connect(let id): cancelConnect(id)
    case .receive(let id): cancelReceive(id)
    case .send(let id): cancelSend(ticket, id)
    case .file: cancelFile(ticket)
    case .sleep:
      timers.remove(ticket)
      finish(ticket, .failure(CancellationError()))
    }
  }

  /// Closes everything and finishes what waits; what is in flight drains in the turns that follow.
  private mutating func end() {
    isEnding = true
    pausedUntil = nil
    for ticket in timers.removeAll() { fail(ticket, AsyncEngineFailure.ended) }
    for id in listeners.keys.sorted() { closeListener(id, nil) }
    for id in connections.keys.sorted() { closeConnection(id, nil) }
    endFiles()
  }

  /// A command that nobody will obey.
  private func refuse(_ command: Command) {
    switch command {
    case .listen(let ticket, _, _, _), .accept(let ticket, _), .connect(let ticket, _),
      .receive(let ticket, _), .send(let ticket, _, _, _), .open(let ticket, _, _, _),
      .file(let ticket, _, _), .sleep(let ticket, _), .counters(let ticket):
      fail(ticket, AsyncEngineFailure.ended)
    case .close(let ticket, _, _): finish(ticket, .success(.done))
    case .cancel, .abandon, .end: break
    }
  }

  // MARK: Completions

  private mutating func handle(_ completion: Completion) {
    if completion.isTerminal { inFlight -= 1 }
    let id = completion.token.rawValue & 0xFF_FFFF_FFFF_FFFF
    switch Step(rawValue: completion.token.kind) {
    case .accept: accepted(id, completion)
    case .connect: connected(id, completion)
    case .receive: received(id, completion)
    case .send: sent(id, completion)
    case .file: fileEnded(id, completion)
    case nil: preconditionFailure("a completion of no operation of this loop")
    }
  }

  private mutating func fireTimers() {
    while let ticket = timers.popDue(engine.now) { finish(ticket, .success(.done)) }
    if let until = pausedUntil, until <= engine.now {
      pausedUntil = nil
      resumeListeners()
    }
  }

  // MARK: Tickets

  func finish(_ ticket: Ticket, _ result: Result<Reply, any Error>) {
    ticket.place = .nowhere
    core.finish(ticket, result)
  }

  /// Finishes a ticket with the reason that its task should see: its own cancellation comes first,
  /// the engine's end second.
  func fail(_ ticket: Ticket, _ error: any Error) {
    let reason: any Error =
      ticket.isCancelled
      ? CancellationError() : isEnding ? AsyncEngineFailure.ended : error
    finish(ticket, .failure(reason))
  }
}
