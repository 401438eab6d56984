// What a simulated engine knows of a descriptor, and where the world leaves it word.

import CLinux
import Glibc

/// What is behind a descriptor, and what is in flight on it.
final class SimulatedHandle {
  enum Thing {
    case listener(SimulatedListener)
    case stream(SimulatedEnd)
    case file(SimulatedOpenFile)
    case pipe(SimulatedPipe, isInput: Bool)
    case datagrams(SimulatedDatagramSocket)
  }

  let thing: Thing
  /// A connect under way, and what became of it until the engine looks.
  var attempt: SimulatedAttempt?
  var connectResult: Int32?
  /// Token of an accept or of a connect.
  var setupToken = Token(rawValue: 0)
  var isAccepting = false
  /// One connection only, into a slot or not.
  var acceptsOne = false
  var acceptSlot: Descriptor?
  var stopsAccepting = false
  var isConnecting = false
  /// A connect has succeeded, or the socket was accepted.
  var isConnected = true
  /// The pair of its addresses is taken while it is open.
  var occupies = false
  var receiving: ReceiveMode?
  var receiveToken = Token(rawValue: 0)
  var stopsReceiving = false
  var isStarved = false
  /// The frame that is being sent.
  var sendCell: UnsafeMutableRawPointer?
  var urgency = SendUrgency.awaited
  var isDeferred = false
  var isSilent = false
  var isZeroCopy = false
  /// Zero-copy sends whose memory the other side has not got yet.
  var heldFrames: [SimulatedHeldFrame] = []
  /// The chains that the operations in flight are steps of.
  var setupChain: SimulatedChain?
  var receiveChain: SimulatedChain?
  var sendChain: SimulatedChain?
  /// The relay that reads here, and the one that writes here.
  var relayFrom: SimulatedRelay?
  var relayTo: SimulatedRelay?
  /// Splices that wait for this end.
  var splices: [SimulatedControl] = []
  /// A send took the socket's error: a receive reports the reset all the same.
  var errorTaken = false

  init(_ thing: Thing) { self.thing = thing }

  var isDatagrams: Bool {
    if case .datagrams = thing { return true }
    return false
  }

  var isBusy: Bool {
    isAccepting || isConnecting || receiving != nil || sendCell != nil || !heldFrames.isEmpty
      || relayFrom != nil || relayTo != nil || splices.contains { !$0.isOver }
  }

  /// Lets go of it, as the end of a process does.
  func abandon(_ world: SimulatedWorld) {
    switch thing {
    case .listener(let listener): world.unbind(listener)
    case .stream(let end):
      if let attempt { attempt.cancel() } else { end.close() }
    case .file(let file): file.close()
    case .pipe(let pipe, let isInput): pipe.close(isInput: isInput)
    case .datagrams(let socket): world.unbind(socket)
    }
  }
}

/// Something that an engine must look after.
enum SimulatedNews {
  case descriptor(Int32)
  case file(Int, Int32)
  case control(SimulatedControl, Int32)
  case datagramSent(UnsafeMutableRawPointer, Int32)

  /// What must stay in order among itself; nil: nothing else.
  private var lane: Int? {
    switch self {
    case .descriptor, .file, .datagramSent: nil
    // Timeouts end in the order of their deadlines, messages leave in that of their posting.
    case .control(let control, _): control.kind.lane
    }
  }

  /// Any order, but the one within each lane.
  static func shuffle(_ news: inout [SimulatedNews], _ dice: inout SimulatedDice) {
    let before = news
    var order = Array(news.indices)
    dice.shuffle(&order)
    var inLane: [Int: [Int]] = [:]
    for i in before.indices {
      if let lane = before[i].lane { inLane[lane, default: []].append(i) }
    }
    var used: [Int: Int] = [:]
    news = order.map { place in
      guard let lane = before[place].lane else { return before[place] }
      let turn = used[lane, default: 0]
      used[lane] = turn + 1
      return before[inLane[lane]![turn]]
    }
  }
}

/// Where the world leaves word for an engine.
final class SimulatedInbox: SimulatedOwner {
  private var news: [SimulatedNews] = []
  private var marked: Set<Int32> = []

  /// Shows to foreign loops of the world that the engine has something to do.
  var readiness: SimulatedForeign?

  var hasNews: Bool { !news.isEmpty }
  var count: Int { news.count }

  func changed(_ end: SimulatedEnd, readable: Bool, writable: Bool) { mark(end.key) }

  /// Something has happened to a descriptor. Told once, until the engine has looked.
  func mark(_ number: Int32) {
    if marked.insert(number).inserted { finished(.descriptor(number)) }
  }

  func finished(_ item: SimulatedNews) {
    news.append(item)
    readiness?.events = .readable
  }

  func take() -> [SimulatedNews] {
    defer {
      news = []
      marked = []
      readiness?.events = []
    }
    return news
  }

  /// Leaves some for the next turn.
  func putBack(_ rest: ArraySlice<SimulatedNews>) {
    for case .descriptor(let number) in rest { marked.insert(number) }
    news = Array(rest) + news
    if hasNews { readiness?.events = .readable }
  }
}
