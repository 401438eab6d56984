// The functional self-test, run by the child on the real engine: each thing that the engine will
// rely on is done once, on sockets that nobody else sees, and judged by what came of it. It never
// asks for the kernel's version.

import CLinux
import Glibc

struct ProbeScript: ~Copyable {
  var engine: Uring
  private var lastToken: UInt64 = 0
  /// How long one step may take: far more than any of them needs on a busy machine.
  static let stepNanoseconds: Int64 = 300_000_000

  init(_ engine: consuming Uring) { self.engine = engine }

  /// Runs the steps from `wake` on, noting each; stops at the first failure that the engine
  /// cannot live with.
  mutating func run(_ notes: ProbeNotes) {
    let essential: [ProbeStep] = [
      .wake, .timedWait, .receive, .cancel, .quietSend, .quietSendFull, .awaitedSend, .accept,
      .connect,
    ]
    for step in essential {
      notes.begin(step)
      let result = perform(step)
      notes.end(step, result)
      if result != 0 && !(step == .connect && ProbeOutcome.isOfTheNetwork(result)) { return }
    }
    files(notes)
  }

  private mutating func perform(_ step: ProbeStep) -> Int32 {
    switch step {
    case .wake: wake()
    case .timedWait: timedWait()
    case .receive: receive()
    case .cancel: cancel()
    case .quietSend: send(.quiet)
    case .quietSendFull: sendMoreThanFits()
    case .awaitedSend: send(.awaited)
    case .accept: accept()
    case .connect: connect()
    default: 0
    }
  }

  mutating func token() -> Token {
    lastToken += 1
    return Token(rawValue: lastToken)
  }

  /// Waits for a completion of this token; gives received bytes back.
  /// - Returns: its result, or -ETIME when none came.
  mutating func result(of token: Token) -> Int32 {
    engine.refreshClocks()
    let limit = engine.now + Self.stepNanoseconds
    while engine.now < limit {
      while let completion = engine.next() {
        if completion.hasBytes { _ = engine.takeSlice(completion) }
        if completion.hasFileBuffer { _ = engine.takeFileBuffer(completion) }
        if completion.token == token { return completion.result }
      }
      engine.wait(until: limit)
    }
    return -ETIME
  }

  /// A socket pair: one end in the engine's hands, the other plain.
  private func pair() -> (socket: Descriptor, peer: Int32)? {
    var ends: (Int32, Int32) = (-1, -1)
    let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let code = withUnsafeMutableBytes(of: &ends) {
      socketpair(AF_UNIX, type, 0, $0.assumingMemoryBound(to: Int32.self).baseAddress!)
    }
    guard code == 0, Int(ends.0) < engine.sockets.limit else { return nil }
    _ = fcntl(ends.1, F_SETFL, O_NONBLOCK)
    _ = engine.sockets.open(ends.0)
    return (Descriptor(rawValue: ends.0), ends.1)
  }

  private mutating func wake() -> Int32 {
    engine.waker.wake()
    engine.refreshClocks()
    let start = engine.now
    engine.wait(until: start + Self.stepNanoseconds)
    return engine.now - start < Self.stepNanoseconds ? 0 : -ETIME
  }

  private mutating func timedWait() -> Int32 {
    engine.refreshClocks()
    let deadline = engine.now + 1_000_000
    var waits = 0
    while engine.now < deadline {
      engine.wait(until: deadline)
      waits += 1
      // A kernel that does not wait at all would have us spin through the millisecond.
      if waits > 100 { return ProbeOutcome.wrong }
    }
    return engine.now > deadline + Self.stepNanoseconds ? -ETIME : 0
  }

  private mutating func receive() -> Int32 {
    guard let (socket, peer) = pair() else { return -errno }
    let token = token()
    engine.receive(socket, .stream, token)
    for length in [1, 3] {
      engine.wait(until: 0)
      _ = Glibc.send(peer, "abc", length, Int32(MSG_NOSIGNAL))
      let got = result(of: token)
      if got < 0 { return got }
      if got != Int32(length) { return ProbeOutcome.wrong }
    }
    _ = Glibc.close(peer)
    let ending = result(of: token)
    guard ending == 0 else { return ending < 0 ? ending : ProbeOutcome.wrong }
    engine.close(socket)
    return 0
  }

  private mutating func cancel() -> Int32 {
    guard let (socket, peer) = pair() else { return -errno }
    let token = token()
    engine.receive(socket, .stream, token)
    engine.wait(until: 0)
    engine.stopReceiving(socket)
    let ending = result(of: token)
    guard ending == -ECANCELED else { return ending < 0 ? ending : ProbeOutcome.wrong }
    engine.close(socket)
    _ = Glibc.close(peer)
    return 0
  }

  /// A send that fits: it must arrive, and only an awaited one may cost a completion.
  private mutating func send(_ urgency: SendUrgency) -> Int32 {
    guard let (socket, peer) = pair() else { return -errno }
    guard var frame = engine.frame() else { return -ENOMEM }
    let token = token()
    frame.append("probe")
    let before = engine.statistics.completions
    engine.send(socket, frame, urgency, token)
    engine.expediteSends()
    let sent = result(of: token)
    guard sent == 5 else { return sent < 0 ? sent : ProbeOutcome.wrong }
    var room: UInt64 = 0
    guard recv(peer, &room, 8, 0) == 5 else { return ProbeOutcome.wrong }
    let posted = engine.statistics.completions - before
    let silent = urgency == .quiet && engine.use.contains(.quietSends)
    guard posted == (silent ? 0 : 1) else { return ProbeOutcome.wrong }
    engine.close(socket)
    _ = Glibc.close(peer)
    return 0
  }

  /// A quiet send of more than the socket takes: its success must not be taken for granted, and
  /// every byte must arrive in the end.
  private mutating func sendMoreThanFits() -> Int32 {
    guard let (socket, peer) = pair() else { return -errno }
    guard var frame = engine.frame() else { return -ENOMEM }
    let size = 1 << 20
    frame.append(engine.coldMemory(size))
    let token = token()
    engine.send(socket, frame, .quiet, token)
    engine.expediteSends()
    engine.wait(until: 0)
    while let completion = engine.next() {
      if completion.token == token { return ProbeOutcome.wrong }
    }
    let room = UnsafeMutableRawPointer.allocate(byteCount: 1 << 16, alignment: 16)
    defer { room.deallocate() }
    var arrived = 0
    engine.refreshClocks()
    let limit = engine.now + Self.stepNanoseconds
    while arrived < size && engine.now < limit {
      let got = recv(peer, room, 1 << 16, 0)
      if got > 0 { arrived += got } else { engine.wait(until: engine.now + 1_000_000) }
    }
    guard arrived == size else { return ProbeOutcome.wrong }
    let ending = result(of: token)
    guard ending == Int32(size) else { return ending < 0 ? ending : ProbeOutcome.wrong }
    engine.close(socket)
    _ = Glibc.close(peer)
    return 0
  }

  /// Two connections to a UNIX listener with a name of the kernel's choosing, by one accept.
  private mutating func accept() -> Int32 {
    var unnamed = sockaddr_storage()
    unnamed.ss_family = sa_family_t(AF_UNIX)
    let any = SocketAddress(
      storage: unnamed, length: socklen_t(MemoryLayout<sa_family_t>.size))
    do throws(SystemFailure) {
      let listener = try engine.listen(any, backlog: 8, reusePort: false)
      guard let address = engine.localAddress(listener) else { return -errno }
      return acceptTwice(listener, address)
    } catch {
      return -error.code
    }
  }

  private mutating func connect() -> Int32 {
    var loopback = sockaddr_in()
    loopback.sin_family = sa_family_t(AF_INET)
    loopback.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var storage = sockaddr_storage()
    withUnsafeMutableBytes(of: &storage) { target in
      withUnsafeBytes(of: loopback) { target.copyMemory(from: $0) }
    }
    let any = SocketAddress(
      storage: storage, length: socklen_t(MemoryLayout<sockaddr_in>.size))
    do throws(SystemFailure) {
      let listener = try engine.listen(any, backlog: 8, reusePort: false)
      guard let address = engine.localAddress(listener) else { return -errno }
      return acceptTwice(listener, address)
    } catch {
      return -error.code
    }
  }

  private mutating func acceptTwice(_ listener: Descriptor, _ address: SocketAddress) -> Int32 {
    let accept = token()
    engine.accept(listener, accept)
    for _ in 0..<2 {
      let connect = token()
      let socket: Descriptor
      do throws(SystemFailure) {
        socket = try engine.connect(address, connect)
      } catch {
        return -error.code
      }
      let (connected, accepted) = results(of: connect, accept)
      if connected != 0 { return connected }
      if accepted < 0 { return accepted }
      engine.close(socket)
      engine.close(Descriptor(rawValue: accepted))
    }
    engine.stopAccepting(listener)
    let ending = result(of: accept)
    guard ending == -ECANCELED else { return ending < 0 ? ending : ProbeOutcome.wrong }
    engine.close(listener)
    return 0
  }

  /// The results of two operations, in whichever order they come.
  private mutating func results(of first: Token, _ second: Token) -> (Int32, Int32) {
    var found: (Int32?, Int32?) = (nil, nil)
    engine.refreshClocks()
    let limit = engine.now + Self.stepNanoseconds
    while engine.now < limit {
      while let completion = engine.next() {
        if completion.token == first { found.0 = completion.result }
        if completion.token == second { found.1 = completion.result }
      }
      if let a = found.0, let b = found.1 { return (a, b) }
      if let a = found.0, a < 0 { return (a, -ETIME) }
      engine.wait(until: limit)
    }
    return (found.0 ?? -ETIME, found.1 ?? -ETIME)
  }
}
