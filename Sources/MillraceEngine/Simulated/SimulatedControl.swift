// Control operations of a simulated engine in flight, and descriptors that are not an engine's.

import CLinux
import Glibc

/// A timeout, a poll, a no-operation, a message, a splice, a reported shutdown or close.
final class SimulatedControl {
  enum Kind {
    case plain, message, timeout
    case poll(SimulatedForeign)
    case splice(from: Int32, to: Int32, count: Int)

    /// Those of one lane end in the order in which it was decided that they end.
    var lane: Int? {
      switch self {
      case .timeout: 1
      case .message: 2
      case .plain, .poll, .splice: nil
      }
    }
  }

  let token: Token
  let kind: Kind
  var chain: SimulatedChain?
  /// It was reported: what the world still has to say about it comes too late.
  var isOver = false

  init(_ token: Token, _ kind: Kind) {
    self.token = token
    self.kind = kind
  }
}

/// A descriptor of a simulated world that is not an engine's.
public final class SimulatedForeign {
  /// What `poll` is given.
  public let descriptor: Int32
  /// What holds at the moment; a poll that waits for any of it ends.
  public var events: PollEvents = [] {
    didSet { if !events.isEmpty { tell() } }
  }
  /// The poll that waits, and for what.
  fileprivate(set) var waiting: (events: PollEvents, ready: (PollEvents) -> Void)?

  init(_ descriptor: Int32) { self.descriptor = descriptor }

  private func tell() {
    // Errors and hang-ups are told whoever asked for what, poll(2).
    guard let waiting, !events.isDisjoint(with: waiting.events.union([.error, .hangUp])) else {
      return
    }
    self.waiting = nil
    waiting.ready(events.intersection(waiting.events.union([.error, .hangUp])))
  }

  func wait(for events: PollEvents, _ ready: @escaping (PollEvents) -> Void) {
    waiting = (events, ready)
    tell()
  }

  func stopWaiting() { waiting = nil }
}

extension SimulatedWorld {
  /// A descriptor for `poll` whose events the caller decides.
  public func foreign() -> SimulatedForeign {
    let foreign = SimulatedForeign(network.takeNumber())
    network.foreign[foreign.descriptor] = foreign
    return foreign
  }

  /// Ends a descriptor that `foreign` made.
  public func close(_ foreign: SimulatedForeign) {
    network.foreign[foreign.descriptor] = nil
    network.giveNumberBack(foreign.descriptor)
  }
}
