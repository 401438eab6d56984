// The hot operations, each as a round that can be repeated: everything that a round needs is made
// before the counting starts.

import Glibc
import MillraceEngine

enum Work: String, CaseIterable {
  case nop, timeout, chain, stream, once, quiet, awaited, accept, datagram, file, zeroCopy
  case relayCopy, relaySplice, message
}

/// One engine with what its rounds need.
struct Bench<E: Engine & ~Copyable>: ~Copyable {
  var engine: E
  private var ends = (Descriptor.none, Descriptor.none)
  private var others = (Descriptor.none, Descriptor.none)
  private var listener = Descriptor.none
  private var address: SocketAddress?
  private var file = Descriptor.none
  private var buffer: FileBuffer?
  private var mailbox: Mailbox?
  /// Completions taken.
  private(set) var completions = 0
  private var seen = 0
  private var bytes = 0
  private var accepted = Descriptor.none

  private static var token: Token { Token(rawValue: 7) }
  private static var receiving: Token { Token(rawValue: 8) }
  private static var accepting: Token { Token(rawValue: 9) }
  private static var connecting: Token { Token(rawValue: 10) }

  init(_ engine: consuming E) { self.engine = engine }

  static var options: EngineOptions {
    var options = EngineOptions()
    options.zeroCopyThreshold = 1024
    // One thread: a second one that starts late would be seen.
    options.fileThreads = 1
    return options
  }

  /// Makes what the rounds need.
  mutating func prepare(_ work: Work) throws {
    switch work {
    case .nop, .timeout, .chain: break
    case .message: mailbox = engine.mailbox
    case .stream, .quiet, .awaited:
      ends = try pair()
      engine.receive(ends.1, .stream, Self.receiving)
    case .once, .zeroCopy: ends = try pair()
    case .relayCopy, .relaySplice:
      ends = try pair()
      others = try pair()
    case .accept:
      listener = try engine.listen(loopback(), backlog: 64, reusePort: false)
      address = engine.localAddress(listener)
      engine.accept(listener, Self.accepting)
    case .datagram:
      ends.0 = try engine.bindDatagrams(loopback(), reusePort: false, coalesce: false)
      ends.1 = try engine.bindDatagrams(loopback(), reusePort: false, coalesce: false)
      address = engine.localAddress(ends.1)
      engine.receiveDatagrams(ends.1, Self.receiving)
    case .file:
      var path = Array("/tmp/millrace-steady-XXXXXX".utf8CString)
      file = Descriptor(rawValue: mkstemp(&path))
      _ = path.withUnsafeBufferPointer { Glibc.unlink($0.baseAddress!) }
      buffer = FileBuffer(capacity: 4096)
    }
  }

  mutating func round(_ work: Work) {
    switch work {
    case .nop:
      engine.nop(Self.token)
      take(1)
    case .timeout:
      engine.timeout(at: engine.now + 1000, Self.token)
      take(1)
    case .chain:
      engine.chain {
        $0.nop(Self.token)
        $0.nop(Self.token)
      }
      take(2)
    case .stream, .quiet:
      send(.quiet)
      takeBytes(64)
    case .awaited:
      send(.awaited)
      takeBytes(64)
      take(1)
    case .once:
      engine.receive(ends.1, .once, Self.receiving)
      send(.quiet)
      takeBytes(64)
    case .accept: acceptAndClose()
    case .datagram: datagram()
    case .file: writeAndRead()
    case .zeroCopy:
      engine.receive(ends.1, .once, Self.receiving)
      guard var frame = engine.frame() else { fatalError("no frame") }
      frame.append(Self.text2K)
      engine.sendZeroCopy(ends.0, frame, Self.token)
      takeBytes(Self.text2K.utf8CodeUnitCount)
      take(2)
    case .relayCopy: relay(.copy)
    case .relaySplice: relay(.splice)
    case .message:
      engine.post(5, Self.receiving, to: mailbox!, Self.token)
      take(2)
    }
  }

  // MARK: Rounds

  private static var text: StaticString {
    "sixty-four bytes, as a small request or a small answer would be."
  }
  private static var text2K: StaticString {
    """
    a frame that is large enough for the threshold of this run, which is low, so that it need not \
    be larger than what fits inline; a frame that is large enough for the threshold of this run, \
    which is low, so that it need not be larger than what fits inline; a frame that is large \
    enough for the threshold of this run, which is low, so that it need not be larger than what \
    fits inline; a frame that is large enough for the threshold of this run, which is low, so that \
    it need not be larger than what fits inline; a frame that is large enough for the threshold of \
    this run, which is low, so that it need not be larger than what fits inline; a frame that is \
    large enough for the threshold of this run, which is low, so that it need not be larger than \
    what fits inline; a frame that is large enough for the threshold of this run, which is low, so \
    that it need not be larger than what fits inline; a frame that is large enough for the \
    threshold of this run, which is low, so that it need not be larger than what fits inline; ends.
    """
  }

  private mutating func send(_ urgency: SendUrgency) {
    guard var frame = engine.frame() else { fatalError("no frame") }
    frame.append(Self.text)
    engine.send(ends.0, frame, urgency, Self.token)
  }

  private mutating func datagram() {
    guard var frame = engine.frame() else { fatalError("no frame") }
    frame.append(Self.text)
    engine.sendDatagram(ends.0, frame, to: address!, segmentSize: 0, Self.token)
    takeBytes(64)
    take(1)
  }

  private mutating func acceptAndClose() {
    accepted = .none
    guard let socket = try? engine.connect(address!, Self.connecting) else {
      fatalError("no connection")
    }
    while !accepted.isValid || seen < 1 { turn() }
    seen -= 1
    engine.resetOnClose(socket)
    engine.close(socket)
    engine.close(accepted)
  }

  private mutating func writeAndRead() {
    engine.write(
      file, from: buffer.take()!, count: 4096, offset: 0, durable: false, Self.token)
    take(1)
    engine.read(file, into: buffer.take()!, count: 4096, offset: 0, Self.token)
    take(1)
  }

  private mutating func relay(_ method: RelayMethod) {
    // What end 0 sends comes in at end 1 and goes on to other 0, whose other end is other 1.
    engine.relay(from: ends.1, to: others.0, count: 64, method, Self.token)
    engine.receive(others.1, .once, Self.receiving)
    guard var frame = engine.frame() else { fatalError("no frame") }
    frame.append(Self.text)
    engine.send(ends.0, frame, .quiet, Self.connecting)
    relayed = false
    takeBytes(64)
    while !relayed { turn() }
  }
  private var relayed = false

  // MARK: The loop

  /// Turns until so many completions of the round's own operation have come.
  private mutating func take(_ count: Int) {
    while seen < count { turn() }
    seen -= count
  }

  private mutating func takeBytes(_ count: Int) {
    while bytes < count { turn() }
    bytes -= count
  }

  private mutating func turn() {
    engine.wait(until: engine.now + 1_000_000_000)
    while let completion = engine.next() { note(completion) }
  }

  private mutating func note(_ completion: Completion) {
    completions += 1
    if completion.hasBytes {
      let slice = engine.takeSlice(completion)
      bytes += slice.count
      return
    }
    if completion.hasDatagram {
      let datagram = engine.takeDatagram(completion)
      bytes += datagram.content.count
      return
    }
    if completion.hasFileBuffer { buffer = engine.takeFileBuffer(completion) }
    switch completion.token {
    case Self.token:
      if completion.result < 0 && completion.result != -ETIME {
        fatalError("an operation ended with \(completion.result)")
      }
      relayed = completion.isTerminal
      if isCountedAsSeen { seen += 1 }
    case Self.connecting:
      if listener.isValid { seen += 1 }
    case Self.accepting:
      if completion.result >= 0 { accepted = Descriptor(rawValue: completion.result) }
    case Self.receiving:
      if mailbox != nil { seen += 1 }
    default: break
    }
  }

  /// A quiet send's completion comes with whatever else does; nobody waits for it.
  var isCountedAsSeen = true

  // MARK: Setting up and ending

  private func loopback() throws -> SocketAddress {
    try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
  }

  private mutating func pair() throws -> (Descriptor, Descriptor) {
    let listener = try engine.listen(loopback(), backlog: 8, reusePort: false)
    let first = try engine.connect(engine.localAddress(listener)!, Self.connecting)
    var second: Descriptor?
    while second == nil {
      engine.wait(until: engine.now + 1_000_000)
      while engine.next() != nil {}
      second = engine.acceptNow(listener)
    }
    for _ in 0..<3 {
      engine.wait(until: engine.now + 1_000_000)
      while engine.next() != nil {}
    }
    engine.close(listener)
    return (first, second!)
  }
}
