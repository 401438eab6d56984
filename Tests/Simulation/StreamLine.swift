// One end of an HTTP/2 connection as its speaker sees it, a client's or a server's: frames on a Line,
// windows of both directions, streams with content on its way out. It is strict with what comes: a frame
// against RFC 9113 is told as `onBroken`. Content leaves in an order and in pieces that the dice choose.

import MillraceEngine

/// How an end treats its windows.
struct WindowPolicy {
  /// Bytes of content that a stream may bring at its beginning.
  var initial = 65_535
  /// How long a window stays as it is before it is opened again.
  var delay: Int64 = 0
  /// Times that a stream's window is opened by a few bytes before it is opened wide.
  var scanty = 0
  /// Bytes that a window is opened to.
  var target = 65_535
}

/// A stream as one end of its connection knows it.
final class WireStream {
  let id: Int
  var script: RequestScript?
  /// Content that is to leave: how much of it, whose, and how much has left.
  var direction = Direction.request
  var total = 0
  var sent = 0
  var trailers: FieldBlock.Fields = []
  /// The head has left; content may.
  var isOpen = false
  /// END_STREAM comes behind the content.
  var ends = true
  var pieceBytes = 1 << 20
  var pieceGap: Int64 = 0
  var isWaiting = false
  var localEnded = false
  var remoteEnded = false
  var isReset = false
  var sendWindow: Int
  var receiveWindow: Int
  /// By so much its window has shrunk: content that was written for the larger one may leave behind the
  /// acknowledgement, and then waits for nothing. Not a byte more may.
  var grace = 0
  var received = 0
  var hasHead = false
  fileprivate var isReplenishing = false
  fileprivate var scanty: Int

  fileprivate init(_ id: Int, sendWindow: Int, _ policy: WindowPolicy, receiveWindow: Int) {
    self.id = id
    self.sendWindow = sendWindow
    self.receiveWindow = receiveWindow
    scanty = policy.scanty
  }

  var isOver: Bool { isReset || (localEnded && remoteEnded) }
  fileprivate var wantsToSend: Bool { isOpen && !localEnded && !isReset && !isWaiting }
}

final class StreamLine {
  let line: Line
  private let world: SimulatedWorld
  let isClient: Bool
  var reader = FrameReader()
  var policy: WindowPolicy
  var dice: SimulatedDice
  /// In the order of their numbers, those that are over too.
  fileprivate(set) var streams: [WireStream] = []
  var byID: [Int: WireStream] = [:]
  var hasPreface = false
  var hasSettings = false
  var sendWindow = 65_535
  var receiveWindow = 65_535
  private var isReplenishing = false
  var peerStreams = Int.max
  var peerWindow = 65_535
  /// What was announced and is not acknowledged, in order.
  var unconfirmed: [[(Int, Int)]] = []
  /// What the other end has acknowledged: it keeps to these.
  var confirmedWindow = 65_535
  /// By so much SETTINGS have made the windows of streams smaller, for those that the other end opens.
  var grace = 0
  var confirmedStreams = Int.max
  var block: (stream: Int, flags: UInt8, bytes: [UInt8])?
  private var isPumping = false
  var isGone = false
  var lastOfPeer = 0

  var onHead: ((WireStream, FieldBlock.Fields, _ ends: Bool) -> Void)?
  var onContent: ((WireStream, ArraySlice<UInt8>) -> Void)?
  var onEnd: ((WireStream, _ trailers: FieldBlock.Fields) -> Void)?
  var onReset: ((WireStream, Int) -> Void)?
  var onGoAway: ((_ last: Int, _ code: Int) -> Void)?
  var onBroken: ((String) -> Void)?

  init(
    _ world: SimulatedWorld, _ line: Line, isClient: Bool, _ policy: WindowPolicy,
    dice: SimulatedDice
  ) {
    self.world = world
    self.line = line
    self.isClient = isClient
    self.policy = policy
    self.dice = dice
    line.onBytes = { [unowned self] in received($0) }
    line.onDrained = { [unowned self] in pump() }
  }

  /// Says what the connection begins with.
  func begin(_ settings: [(Int, Int)] = []) {
    if isClient { line.write(Frame.preface) }
    announce(settings + [(Frame.Setting.initialWindow, policy.initial)])
    if dice.chance(500) {
      receiveWindow += 1 << 20
      line.write(Frame.windowUpdate(0, 1 << 20))
    }
  }

  /// Changes settings, which hold when the other end has acknowledged them.
  func announce(_ settings: [(Int, Int)]) {
    unconfirmed.append(settings)
    line.write(Frame.settings(settings))
  }

  // MARK: Streams

  func stream(_ id: Int) -> WireStream {
    let stream = WireStream(
      id, sendWindow: peerWindow, policy, receiveWindow: confirmedWindow)
    if !isClient { stream.grace = grace }
    streams.append(stream)
    byID[id] = stream
    return stream
  }

  /// Sends a head; what content there is follows as the windows let it.
  func sendHead(_ stream: WireStream, _ fields: FieldBlock.Fields, ends: Bool) {
    guard !stream.isReset, !stream.localEnded else { return }
    line.write(Frame.head(stream.id, FieldBlock.write(fields, &dice), ends: ends, &dice))
    if ends { stream.localEnded = true }
    replenish(stream)
  }

  func sendContent(_ stream: WireStream) {
    stream.isOpen = true
    pump()
  }

  func reset(_ stream: WireStream, _ code: Int) {
    guard !stream.isOver else { return }
    stream.isReset = true
    line.write(Frame.reset(stream.id, code))
  }

  var openStreams: Int { streams.reduce(0) { $0 + ($1.isOver ? 0 : 1) } }

  // MARK: Out

  /// Sends content while the line takes it, of streams in any order.
  func pump() {
    guard !isPumping, !line.isOver else { return }
    isPumping = true
    defer { isPumping = false }
    while !line.isOver, line.isDrained {
      let able = streams.filter {
        $0.wantsToSend && ($0.sent == $0.total || min($0.sendWindow, sendWindow) > 0)
      }
      guard !able.isEmpty else { return }
      send(able[dice.roll(able.count)])
    }
  }

  private func send(_ stream: WireStream) {
    let left = stream.total - stream.sent
    let room = min(stream.sendWindow, sendWindow, Frame.payloadMaximum)
    var count = min(left, max(0, room), stream.pieceBytes)
    var padding: Int?
    if count > 1 && dice.chance(100) { count = 1 + dice.roll(count) }
    if dice.chance(30) && count + 256 < room { padding = dice.roll(200) }
    let isLast = count == left
    let endsHere = isLast && stream.ends && stream.trailers.isEmpty
    if count > 0 || endsHere {
      var payload: [UInt8] = []
      if let script = stream.script {
        payload = Content.bytes(script.id, stream.direction, from: stream.sent, count: count)
      }
      if let padding {
        payload = [UInt8(padding)] + payload + [UInt8](repeating: 0, count: padding)
      }
      stream.sendWindow -= payload.count
      sendWindow -= payload.count
      stream.sent += count
      if endsHere { stream.localEnded = true }
      line.write(
        Frame.write(
          Frame.Kind.data,
          (endsHere ? Frame.Flag.endStream : 0) | (padding != nil ? Frame.Flag.padded : 0),
          stream.id, payload))
    }
    if isLast && !stream.localEnded {
      if stream.ends {
        stream.localEnded = true
        line.write(
          Frame.head(stream.id, FieldBlock.write(stream.trailers, &dice), ends: true, &dice))
      } else {
        stream.isOpen = false
      }
    }
    guard stream.pieceGap > 0, !stream.localEnded else { return }
    stream.isWaiting = true
    world.after(stream.pieceGap) { [weak self] in
      stream.isWaiting = false
      self?.pump()
    }
  }

  // MARK: Windows that open

  /// Opens the window of a stream after a while, if it needs to be.
  func replenish(_ stream: WireStream) {
    guard !stream.isReplenishing, !stream.isOver, !stream.remoteEnded,
      stream.receiveWindow <= policy.target / 2
    else { return }
    stream.isReplenishing = true
    world.after(policy.delay + 1_000) { [weak self] in
      stream.isReplenishing = false
      guard let self, !line.isOver, !stream.isOver, !stream.remoteEnded else { return }
      var count = policy.target - stream.receiveWindow
      if stream.scanty > 0 {
        stream.scanty -= 1
        count = 1 + dice.roll(20)
      }
      guard count > 0 else { return }
      stream.receiveWindow += count
      line.write(Frame.windowUpdate(stream.id, count))
      replenish(stream)
    }
  }

  func replenish() {
    guard !isReplenishing, receiveWindow < 40_000 else { return }
    isReplenishing = true
    world.after(policy.delay / 4 + 1_000) { [weak self] in
      guard let self, !line.isOver else { return }
      isReplenishing = false
      let count = 65_535 + dice.roll(1 << 18)
      receiveWindow += count
      line.write(Frame.windowUpdate(0, count))
    }
  }
}
