// Chains: steps that wait for the one before them. A step is what its operation would have done at
// submission, kept until its turn comes.

import CLinux
import Glibc

/// One step of a chain that has not begun.
struct SimulatedStep {
  let token: Token
  /// What it is about; `none` where nothing is, and of a path.
  let descriptor: Descriptor
  let begin: (inout Simulated) -> Void
  /// Ends it with ECANCELED.
  let cancel: (inout Simulated) -> Void
}

/// The steps of a chain that have not begun; the one before them runs.
final class SimulatedChain {
  var waiting: [SimulatedStep] = []
}

extension Simulated {
  public mutating func beginChain() {
    precondition(openChain == nil, "a chain within a chain")
    openChain = SimulatedChain()
  }

  public mutating func endChain() {
    guard let chain = openChain else {
      preconditionFailure("the end of a chain that was not begun")
    }
    precondition(
      (1...Chain.limit).contains(chain.waiting.count), "a chain has 1...\(Chain.limit) steps")
    precondition(chains.count < options.chains, "more chains in flight than the engine's limit")
    openChain = nil
    chains.append(chain)
    advance(chain, true)
  }

  /// Keeps an operation as a step, if a chain is being made.
  /// - Parameters:
  ///   - begin: submits the operation.
  ///   - descriptor: what it is about.
  ///   - cancel: ends it, and gives back what it holds; nil: it holds nothing.
  /// - Returns: false outside of a chain: the operation begins now.
  mutating func isStep(
    _ token: Token, _ begin: @escaping (inout Simulated) -> Void,
    on descriptor: Descriptor = .none, cancel: ((inout Simulated) -> Void)? = nil
  ) -> Bool {
    guard let chain = openChain else { return false }
    precondition(chain.waiting.count < Chain.limit, "a chain has 1...\(Chain.limit) steps")
    statistics.operationsInFlight += 1
    chain.waiting.append(
      SimulatedStep(
        token: token, descriptor: descriptor, begin: begin,
        cancel: cancel ?? { $0.ended(token, -ECANCELED) }))
    return true
  }

  /// An operation of a kind that cannot be a step.
  func refuseInChain() {
    precondition(openChain == nil, "an operation that cannot be a step of a chain")
  }

  /// A step has ended: the next begins, or none that is left does.
  mutating func advance(_ chain: SimulatedChain?, _ hasSucceeded: Bool) {
    guard let chain else { return }
    if hasSucceeded, !chain.waiting.isEmpty {
      let step = chain.waiting.removeFirst()
      // The submission counts it again.
      statistics.operationsInFlight -= 1
      beginning = chain
      step.begin(&self)
      // Nobody else's: what begins within has taken it.
      beginning = nil
    } else {
      cancelSteps(of: chain, from: 0)
      chains.removeAll { $0 === chain }
    }
  }

  /// Ends the steps from one on, none of which has begun.
  private mutating func cancelSteps(of chain: SimulatedChain, from first: Int) {
    let steps = chain.waiting[first...]
    chain.waiting.removeLast(steps.count)
    for step in steps { step.cancel(&self) }
  }

  /// Ends the waiting steps that match, and those behind them.
  mutating func cancelSteps(where matches: (SimulatedStep) -> Bool) {
    for chain in chains {
      guard let first = chain.waiting.firstIndex(where: matches) else { continue }
      cancelSteps(of: chain, from: first)
    }
  }

  /// Ends an operation that was counted and could not begin.
  mutating func fail(_ token: Token, _ result: Int32) {
    let chain = beginning
    ended(token, result)
    beginning = nil
    advance(chain, false)
  }

  /// Ends an operation that was not counted.
  mutating func refuse(_ token: Token, _ result: Int32) {
    statistics.operationsInFlight += 1
    fail(token, result)
  }
}
