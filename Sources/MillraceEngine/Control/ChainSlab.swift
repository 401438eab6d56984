// Chains that the engine runs itself: epoll's always, the ring's where the kernel's links are not
// used. A chain is a list of steps that were submitted and not started; the end of one starts the
// next, or ends all that are left. A step keeps its number until its chain is over.
//
// TRAP: (file) the caller's order of calls, which no event changes: chains are made and closed by
// code in one go. How many are in flight is bounded by the caller, who states it in
// EngineOptions.chains.

import Glibc

enum ChainStepKind: UInt8 {
  case file, control, send, receive
}

/// One step. What it needs beyond this stands in the slab of its kind.
struct ChainStep {
  var kind: ChainStepKind
  /// Slot of a file or control operation.
  var index: UInt32
  /// The frame of a send.
  var cell: UnsafeMutableRawPointer?
  var descriptor: Int32
  var token: Token
}

struct ChainState {
  var steps: InlineArray<8, ChainStep>
  var count: Int
  /// The step that runs; `count` when all have.
  var current: Int
  var inUse: Bool
}

struct ChainSlab: ~Copyable {
  let chains: UnsafeMutablePointer<ChainState>
  let capacity: Int
  private let free: UnsafeMutablePointer<Int32>
  private var freeCount: Int
  /// The chain that is being made, or -1.
  var open: Int32 = -1

  init(capacity: Int) {
    self.capacity = capacity
    chains = .allocate(capacity: capacity)
    free = .allocate(capacity: capacity)
    freeCount = capacity
    let none = ChainStep(
      kind: .control, index: 0, cell: nil, descriptor: -1, token: Token(rawValue: 0))
    for i in 0..<capacity {
      (free + i).initialize(to: Int32(capacity - 1 - i))
      (chains + i).initialize(
        to: ChainState(
          steps: InlineArray(repeating: none), count: 0, current: 0, inUse: false))
    }
  }

  deinit {
    if freeCount != capacity {
      engineBug("chains were in flight when their slots were torn down")
      return
    }
    chains.deallocate()
    free.deallocate()
  }

  @inline(__always) var isOpen: Bool { open >= 0 }
  var inUse: Int { capacity - freeCount }

  mutating func begin() {
    precondition(open < 0, "a chain was begun inside a chain")
    precondition(freeCount > 0, "more chains in flight than EngineOptions.chains")
    freeCount -= 1
    open = free[freeCount]
    chains[Int(open)].count = 0
    chains[Int(open)].current = 0
    chains[Int(open)].inUse = true
  }

  /// Adds a step to the chain that is being made. - Returns: the chain's number.
  mutating func append(_ step: ChainStep) -> Int32 {
    let chain = chains + Int(open)
    precondition(chain.pointee.count < Chain.limit, "a chain of more than Chain.limit steps")
    chain.pointee.steps[chain.pointee.count] = step
    chain.pointee.count += 1
    return open
  }

  /// Ends the making. - Returns: the chain's number.
  mutating func finishMaking() -> Int32 {
    precondition(open >= 0, "no chain is open")
    let chain = open
    open = -1
    return chain
  }

  mutating func release(_ chain: Int32) {
    chains[Int(chain)].inUse = false
    free[freeCount] = chain
    freeCount += 1
  }

  /// The chain whose running step is a receive on this descriptor.
  func running(receiveOn descriptor: Int32) -> Int32 {
    for i in 0..<capacity where chains[i].inUse && chains[i].current < chains[i].count {
      let step = chains[i].steps[chains[i].current]
      if step.kind == .receive && step.descriptor == descriptor { return Int32(i) }
    }
    return -1
  }
}

/// What an engine does for the chains that it runs itself.
protocol ChainRunner: ~Copyable {
  var chains: ChainSlab { get set }
  var control: ControlSlab { get }
  var files: FileOperationSlab { get }
  /// Starts a step: from here on it is an operation like any other.
  mutating func start(_ step: ChainStep, of chain: Int32)
  /// Ends a step that never started, with ECANCELED.
  mutating func abandon(_ step: ChainStep)
}

extension ChainRunner where Self: ~Copyable {
  mutating func cancelWaitingSteps(with token: Token) {
    cancelWaitingSteps { $0.token == token }
  }

  mutating func cancelWaitingSteps(on descriptor: Int32) {
    let (controlSlots, fileSlots) = (control.slots, files.slots)
    cancelWaitingSteps {
      switch $0.kind {
      case .send, .receive: $0.descriptor == descriptor
      case .file: fileSlots[Int($0.index)].descriptor == descriptor
      // .max: a step that found no slot.
      case .control:
        $0.index != .max && controlSlots[Int($0.index)].descriptor == descriptor
      }
    }
  }

  mutating func launch(_ chain: Int32) {
    let state = chains.chains + Int(chain)
    precondition(state.pointee.count > 0, "a chain without a step")
    start(state.pointee.steps[0], of: chain)
  }

  /// Ends the first step of each chain that matches and has not started, and those behind it. What
  /// runs goes on.
  mutating func cancelWaitingSteps(where matches: (ChainStep) -> Bool) {
    guard chains.inUse > 0 else { return }
    for i in 0..<chains.capacity where Int32(i) != chains.open {
      let state = chains.chains + i
      guard state.pointee.inUse else { continue }
      var first = state.pointee.current + 1
      while first < state.pointee.count, !matches(state.pointee.steps[first]) { first += 1 }
      let count = state.pointee.count
      guard first < count else { continue }
      state.pointee.count = first
      for step in first..<count { abandon(state.pointee.steps[step]) }
    }
  }

  /// A step has ended: the next one starts, or none of the rest ever will.
  mutating func stepEnded(_ chain: Int32, succeeded: Bool) {
    let state = chains.chains + Int(chain)
    state.pointee.current += 1
    if succeeded && state.pointee.current < state.pointee.count {
      return start(state.pointee.steps[state.pointee.current], of: chain)
    }
    while state.pointee.current < state.pointee.count {
      let step = state.pointee.steps[state.pointee.current]
      state.pointee.current += 1
      abandon(step)
    }
    chains.release(chain)
  }
}
