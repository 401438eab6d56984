// Making a load thread: everything that it will ever need is allocated here, sized by the plan.

import Glibc
import HTTP
import HTTP1
import HTTP2
import MillraceEngine
import TLS
import Transport

/// A thread's share of the plan; crosses to it.
struct LoadThreadParameters: Sendable {
  let plan: LoadPlan
  let source: PacingSource
  let board: LoadBoard
  let index: Int
  let options: EngineOptions
  /// Of the plan's.
  let connections: Int
  let slowReaders: Int
  let closedLimit: Int

  /// - Parameter index: below the plan's `threads`.
  init(
    _ plan: LoadPlan, _ source: PacingSource, _ board: LoadBoard, index: Int, of threads: Int,
    _ options: EngineOptions
  ) {
    func share(_ whole: Int) -> Int { whole / threads + (index < whole % threads ? 1 : 0) }
    self.plan = plan
    self.source = source
    self.board = board
    self.index = index
    slowReaders = share(min(plan.slowReaders, plan.connections))
    connections = share(plan.connections)
    closedLimit = plan.pacing.isOpen ? .max : plan.requestLimit.map(share) ?? .max
    var options = options
    // Of each: the send in flight, what follows it, and what is to be encrypted behind that.
    options.frames = connections * 3 + 64
    if slowReaders > 0 {
      // A slow reader takes a buffer at once and then pauses: small ones keep the pace even.
      options.largeBufferSize = max(4096, min(65_536, plan.slowReaderBytesPerSecond / 4 & ~4095))
    }
    self.options = options
  }
}

extension LoadWorker where E: ~Copyable {
  init(_ parameters: LoadThreadParameters, engine made: consuming E) throws(TLSFailure) {
    let plan = parameters.plan
    let threads = parameters.board.threads
    let shape = LaneShape.lanes(
      plan, connections: parameters.connections, slow: parameters.slowReaders)
    board = parameters.board
    index = parameters.index
    addresses = plan.servers.map(\.address)
    hosts = plan.servers.map(\.host)
    depth = max(1, plan.requestsInFlight)
    requestsPerConnection = plan.requestsPerConnection ?? .max
    resumesSessions = plan.resumesSessions
    timeout = plan.timeoutNanoseconds
    slowBytesPerSecond = plan.slowReaderBytesPerSecond
    isOpenLoop = plan.pacing.isOpen
    speaksHTTP2 = plan.version == .http2
    warmUp = plan.warmUpNanoseconds
    let ending = PacedEnding(plan)
    duration = ending.duration
    mayRunOut = ending.mayRunOut
    waitsForAnswers = ending.waitsForAnswers
    closedLeft = parameters.closedLimit
    sweepInterval = max(5_000_000, min(500_000_000, plan.timeoutNanoseconds / 16))
    nextSweep = made.now + sweepInterval

    lanes = .allocate(capacity: shape.count)
    for (i, lane) in shape.enumerated() {
      (lanes.baseAddress! + i).initialize(
        to: Lane(server: lane.server, slots: lane.slots, isSlow: lane.isSlow, inFlight: depth))
    }
    connections = .allocate(capacity: shape.last.map(\.slots.upperBound) ?? 0)
    toOpen = SlotRing(capacity: connections.count)
    heap = DeadlineHeap(capacity: connections.count * 2)
    for (i, lane) in shape.enumerated() {
      for slot in lane.slots {
        (connections.baseAddress! + slot).initialize(
          to: LoadConnection(lane: i, isSlow: lane.isSlow))
        toOpen.append(UInt32(slot))
      }
    }
    flights = .allocate(capacity: max(1, connections.count * depth))
    prepared = .allocate(capacity: plan.requests.count)
    if plan.version == .http2 {
      let places = max(1, connections.count * depth)
      let made = UnsafeMutablePointer<StreamPlace>.allocate(capacity: places)
      made.initialize(repeating: StreamPlace(), count: places)
      streams = made
      http2Memory = HTTP2Memory()
      fieldLists = .allocate(capacity: plan.requests.count)
      for (i, request) in plan.requests.enumerated() {
        (fieldLists.baseAddress! + i).initialize(
          to: HTTP2FieldList(request, plan.servers[request.server]))
      }
    } else {
      streams = nil
      http2Memory = nil
      fieldLists = UnsafeMutableBufferPointer(start: nil, count: 0)
    }
    plaintext = .allocate(byteCount: Self.scratchBytes, alignment: 64)
    channels = TLSChannels(capacity: connections.count)
    frames = .allocate(byteCount: Self.scratchBytes, alignment: 64)
    responseHead = ResponseHead(fieldCapacity: responseLimits.fields)
    tally = LoadTally(
      rows: parameters.source.rows.count,
      longest: warmUp + 3 * duration + 3 * timeout + 2_000_000_000)
    engine = made
    let rows = parameters.source.rows
    for (i, request) in plan.requests.enumerated() {
      (prepared.baseAddress! + i).initialize(
        to: PreparedRequest(
          request, plan.servers[request.server], row: rows.rows.isEmpty ? 0 : rows.rows[i],
          remembersHeads: plan.requests.count <= RememberedHead.templatesMaximum, &engine))
    }
    for i in lanes.indices { try pace(lanes.baseAddress! + i, parameters, threads) }
  }

  /// Gives a lane its moments, or its choice, and its TLS.
  private mutating func pace(
    _ lane: UnsafeMutablePointer<Lane>, _ parameters: LoadThreadParameters, _ threads: Int
  ) throws(TLSFailure) {
    let server = lane.pointee.server
    setPace(lane, parameters.plan, parameters.source, thread: parameters.index, of: threads)
    if parameters.plan.servers[server].usesTLS {
      lane.pointee.context = try TLSClientContext(
        trust: parameters.plan.trust, alpn: [parameters.plan.version == .http2 ? "h2" : "http/1.1"])
    }
  }

  /// Gives a lane its moments, or its choice.
  func setPace(
    _ lane: UnsafeMutablePointer<Lane>, _ plan: LoadPlan, _ source: PacingSource, thread: Int,
    of threads: Int
  ) {
    lane.pointee.nextSendTime = .max
    if plan.pacing.isOpen && !lane.pointee.isSlow {
      lane.pointee.pacer = Pacer(source, thread: thread, of: threads)
    } else {
      let server = lane.pointee.server
      let weights = plan.requests.map { $0.server == server ? $0.weight : 0 }
      lane.pointee.pacer = nil
      lane.pointee.chooser = RequestChooser(
        weights: weights, seed: plan.seed &+ UInt64(thread) &* LoadRandom.golden)
    }
  }

  /// Frees what `init` allocated apart from what frees itself. After `run`.
  consuming func end() -> LoadTally {
    for i in lanes.indices {
      lanes[i].idle.deallocate()
      lanes[i].resend.deallocate()
    }
    lanes.baseAddress!.deinitialize(count: lanes.count)
    lanes.deallocate()
    connections.baseAddress!.deinitialize(count: connections.count)
    connections.deallocate()
    flights.deallocate()
    streams?.deallocate()
    // After the sessions, which read them in place.
    if let base = fieldLists.baseAddress { base.deinitialize(count: fieldLists.count) }
    fieldLists.deallocate()
    // Their content is the engine's memory.
    prepared.baseAddress!.deinitialize(count: prepared.count)
    prepared.deallocate()
    plaintext.deallocate()
    frames.deallocate()
    toOpen.deallocate()
    return tally
  }
}

/// How long the counted part is.
struct PacedEnding {
  /// Nanoseconds.
  var duration: Int64
  /// Whether the requests may be over earlier.
  var mayRunOut: Bool
  /// Whether it then waits for the answers. The end of an open loop does not, or a server that hangs
  /// would lengthen it; but a log that is one burst would have no length at all.
  var waitsForAnswers: Bool

  /// A replay shorter than this many nanoseconds is a burst: the shortest that --duration may be.
  private static let burst: Int64 = 100_000_000

  init(_ plan: LoadPlan) {
    duration = plan.durationNanoseconds
    waitsForAnswers = !plan.pacing.isOpen
    switch plan.pacing {
    case .constant(let rate):
      mayRunOut = false
      guard let limit = plan.requestLimit else { return }
      // So many gaps, the one behind the last request included.
      let first = Pacer.firstNumber(from: plan.warmUpNanoseconds, rate)
      let end = Pacer.offset(first + UInt64(limit), rate)
      duration = min(duration, end - plan.warmUpNanoseconds)
    case .replay(let schedule):
      mayRunOut = true
      waitsForAnswers = schedule.spanNanoseconds < Self.burst
    case .closed, .poisson: mayRunOut = plan.requestLimit != nil
    }
  }
}

/// How a thread's connections are shared out among servers.
struct LaneShape {
  var server: Int
  var slots: Range<Int>
  var isSlow: Bool

  /// A lane for each server that is asked anything, its connections in proportion to the weight of
  /// its templates, at least one.
  static func lanes(_ plan: LoadPlan, connections: Int, slow: Int) -> [LaneShape] {
    var weights = [Double](repeating: 0, count: plan.servers.count)
    for request in plan.requests { weights[request.server] += request.weight }
    let servers = weights.indices.filter { weights[$0] > 0 }
    var lanes: [LaneShape] = []
    var next = 0
    for (isSlow, whole) in [(false, connections - slow), (true, slow)] where whole > 0 {
      let shares = split(whole, servers.map { weights[$0] })
      for (server, share) in zip(servers, shares) where share > 0 {
        lanes.append(LaneShape(server: server, slots: next..<next + share, isSlow: isSlow))
        next += share
      }
    }
    return lanes
  }

  /// The largest remainders get what is left over; nobody gets nothing.
  private static func split(_ whole: Int, _ weights: [Double]) -> [Int] {
    let sum = weights.reduce(0, +)
    let exact = weights.map { $0 / sum * Double(whole) }
    var shares = exact.map { max(1, Int($0)) }
    let order = exact.indices.sorted {
      exact[$0] - exact[$0].rounded(.down) > exact[$1] - exact[$1].rounded(.down)
    }
    var i = 0
    while shares.reduce(0, +) < whole {
      shares[order[i % order.count]] += 1
      i += 1
    }
    return shares
  }
}
