// How each kind of operation is begun: on a free end, with what the contract demands.

import Glibc
import MillraceEngine

extension Teardown where E: ~Copyable {
  mutating func begin(_ deed: Deed) throws {
    switch deed {
    case .accept, .acceptOne, .acceptIntoSlot: beginAccept(deed)
    case .connect, .connectRefused:
      let token = token(deed)
      let target = deed == .connect ? address : closedAddress
      let socket = try engine.connect(target, token)
      operations[operations.count - 1].connecting = socket
      stray.append(socket)
    case .receive, .receiveOnce: beginReceive(deed)
    case .send, .sendHuge, .sendZeroCopy: beginSend(deed)
    case .shutdown, .closeOperation, .splice: beginOther(deed)
    case .relayCopy, .relaySplice: beginRelay(deed)
    case .receiveDatagrams, .sendDatagram: beginDatagrams(deed)
    case .open, .openIntoSlot, .status, .synchronize, .allocate, .truncate, .rename, .unlink:
      beginFile(deed)
    case .closeFile: beginCloseFile()
    case .read, .write, .readVector, .writeVector: beginTransfer(deed)
    case .timeout, .nop, .poll, .post, .postToPartner: beginControl(deed)
    case .wake: try beginWake()
    case .chain: beginChain()
    case .lease:
      if let slice = engine.lease() { slices.keep(slice) }
    case .registeredBuffer:
      if let buffer = engine.registeredBuffer() { slices.keep(buffer) }
    case .cancelOne:
      if !operations.isEmpty { engine.cancel(Token(rawValue: UInt64(dice.roll(operations.count)))) }
    case .cancelAll: engine.cancelAll(ends[dice.roll(ends.count)].descriptor)
    case .stopReceiving: engine.stopReceiving(ends[dice.roll(ends.count)].descriptor)
    case .stopAccepting: engine.stopAccepting(listener)
    case .stopRelay:
      let end = ends[dice.roll(ends.count)]
      if !end.isDatagram { engine.stopRelay(from: end.descriptor) }
    }
  }

  /// A stream's end that is free for this, or nil.
  mutating func freeEnd(receiving: Bool = false, sending: Bool = false) -> Int? {
    let first = dice.roll(ends.count)
    for i in 0..<ends.count {
      let end = ends[(first + i) % ends.count]
      guard !end.isDatagram, !receiving || !end.receives, !sending || !end.sends else { continue }
      return (first + i) % ends.count
    }
    return nil
  }

  private mutating func beginAccept(_ deed: Deed) {
    guard !accepts else { return }
    var slot: Descriptor?
    if deed == .acceptIntoSlot {
      slot = engine.takeSlot()
      if slot == nil { return }
    }
    accepts = true
    let token = token(deed)
    operations[operations.count - 1].slot = slot
    operations[operations.count - 1].accepts = true
    if deed == .accept {
      engine.accept(listener, token)
    } else {
      engine.acceptOne(listener, into: slot, token)
    }
  }

  private mutating func beginReceive(_ deed: Deed) {
    guard let end = freeEnd(receiving: true) else { return }
    let token = token(deed)
    operations[operations.count - 1].receiver = end
    ends[end].receives = true
    engine.receive(ends[end].descriptor, deed == .receive ? .stream : .once, token)
  }

  private mutating func beginSend(_ deed: Deed) {
    guard let end = freeEnd(sending: true), var frame = engine.frame() else { return }
    frame.append("inline bytes")
    if deed != .send {
      let size = deed == .sendHuge ? 3 << 20 : 1 << (8 + dice.roll(8))
      let slice = engine.coldMemory(size)
      slice.mutableBytes.initializeMemory(as: UInt8.self, repeating: 7)
      frame.append(slice)
    }
    let token = token(deed)
    operations[operations.count - 1].sender = end
    ends[end].sends = true
    if deed == .sendZeroCopy {
      engine.sendZeroCopy(ends[end].descriptor, frame, token)
    } else {
      engine.send(ends[end].descriptor, frame, dice.roll(2) == 0 ? .quiet : .awaited, token)
    }
  }

  private mutating func beginOther(_ deed: Deed) {
    switch deed {
    case .shutdown:
      guard let end = freeEnd() else { return }
      engine.shutdown(ends[end].descriptor, .send, token(deed))
    case .closeOperation:
      // Only what nothing was begun on: connects to the listener may still be under way.
      guard let made = try? engine.bindSpare(address) else { return }
      let token = token(deed)
      operations[operations.count - 1].closing = made
      engine.close(made, token)
    default:
      guard let pipe, let end = freeEnd(receiving: true) else { return }
      // One of the two directions, so that some wait and some do not.
      let token = token(deed)
      operations[operations.count - 1].receiver = end
      ends[end].receives = true
      engine.splice(from: ends[end].descriptor, to: pipe.input, count: 4096, token)
    }
  }

  private mutating func beginRelay(_ deed: Deed) {
    guard let source = freeEnd(receiving: true), let sink = freeEnd(sending: true) else { return }
    let token = token(deed)
    operations[operations.count - 1].receiver = source
    operations[operations.count - 1].sender = sink
    ends[source].receives = true
    ends[sink].sends = true
    engine.relay(
      from: ends[source].descriptor, to: ends[sink].descriptor, count: dice.roll(1 << 18),
      deed == .relayCopy ? .copy : .splice, token)
  }

  private mutating func beginDatagrams(_ deed: Deed) {
    let candidates = ends.indices.filter { ends[$0].isDatagram }
    guard !candidates.isEmpty else { return }
    let end = candidates[dice.roll(candidates.count)]
    let other = candidates[dice.roll(candidates.count)]
    if deed == .receiveDatagrams {
      guard !ends[end].receives else { return }
      let token = token(deed)
      operations[operations.count - 1].receiver = end
      ends[end].receives = true
      engine.receiveDatagrams(ends[end].descriptor, token)
      return
    }
    guard var frame = engine.frame(), let target = engine.localAddress(ends[other].descriptor)
    else { return }
    frame.append("a datagram of several segments, or of one, as the dice have it")
    engine.sendDatagram(
      ends[end].descriptor, frame, to: target, segmentSize: dice.roll(2) * 10, token(deed))
  }

  mutating func takesFilePlace(_ count: Int = 1) -> Bool {
    guard fileOperations + count <= Self.options.fileOperations else { return false }
    fileOperations += count
    return true
  }

  mutating func fileToken(_ deed: Deed) -> Token {
    let token = token(deed)
    operations[operations.count - 1].isFile = true
    return token
  }

  private mutating func beginFile(_ deed: Deed) {
    guard takesFilePlace() else { return }
    let path = directory + "/\(dice.roll(4))"
    switch deed {
    case .open: engine.open(path, flags: O_RDWR | O_CREAT, mode: 0o600, fileToken(deed))
    case .openIntoSlot:
      guard let slot = engine.takeSlot() else {
        fileOperations -= 1
        return
      }
      let token = fileToken(deed)
      operations[operations.count - 1].slot = slot
      let flags = dice.roll(3) == 0 ? O_RDONLY : O_RDWR | O_CREAT
      engine.open(path, flags: flags, mode: 0o600, into: slot, token)
    case .status:
      dice.roll(2) == 0
        ? engine.status(file, fileToken(deed)) : engine.status(path: path, fileToken(deed))
    case .synchronize: engine.synchronize(file, dataOnly: true, fileToken(deed))
    case .allocate:
      engine.allocate(
        file, offset: Int64(dice.roll(9000)), length: Int64(1 + dice.roll(9000)), fileToken(deed))
    case .truncate: engine.truncate(file, length: Int64(dice.roll(9000)), fileToken(deed))
    case .rename:
      engine.rename(path, to: directory + "/\(dice.roll(4))", fileToken(deed))
    default: engine.unlink(path, fileToken(deed))
    }
  }

  /// One that was opened before and that nothing uses.
  private mutating func beginCloseFile() {
    guard let last = strayFiles.last, takesFilePlace() else { return }
    strayFiles.removeLast()
    let token = fileToken(.closeFile)
    operations[operations.count - 1].closing = last
    engine.closeFile(last, token)
  }

  private mutating func beginTransfer(_ deed: Deed) {
    guard takesFilePlace() else { return }
    let offset = Int64(dice.roll(8192))
    switch deed {
    case .read, .write:
      var buffer = FileBuffer(capacity: 4096)
      if dice.roll(3) == 0, let registered = registered() { buffer = registered }
      memset(buffer.base, 1, 4096)
      if deed == .read {
        engine.read(file, into: buffer, count: 4096, offset: offset, fileToken(deed))
      } else {
        engine.write(
          file, from: buffer, count: 4096, offset: offset, durable: dice.roll(4) == 0,
          fileToken(deed))
      }
    default:
      var list = FileBufferList()
      for _ in 0..<(1 + dice.roll(3)) {
        let buffer = FileBuffer(capacity: 512)
        memset(buffer.base, 2, 512)
        list.append(buffer, bytes: 512)
      }
      if deed == .readVector {
        engine.read(file, into: list, offset: offset, fileToken(deed))
      } else {
        engine.write(file, from: list, offset: offset, durable: false, fileToken(deed))
      }
    }
  }

  private mutating func registered() -> FileBuffer? {
    usesRegistered ? engine.registeredBuffer() : nil
  }

  private mutating func beginControl(_ deed: Deed) {
    switch deed {
    case .timeout:
      let ahead = [Int64(0), 500_000, 60_000_000_000][dice.roll(3)]
      engine.timeout(at: engine.now + ahead, token(deed))
    case .nop: engine.nop(token(deed))
    case .poll:
      guard foreign.output >= 0, !polls else { return }
      polls = true
      engine.poll(foreign.output, .readable, token(deed))
    default:
      let mailbox = deed == .post ? engine.mailbox : partner
      guard let mailbox else { return }
      engine.post(1, Token(rawValue: 1 << 50), to: mailbox, token(deed))
    }
  }

  /// Another thread, that wakes this one while it goes on and while it ends.
  private mutating func beginWake() throws {
    guard engine.kind != .simulated, wakers.count < 2 else { return }
    let waker = engine.waker
    let pause = useconds_t(dice.roll(200))
    wakers.append(
      try WorkerThread.start(name: "waker", cpu: nil) {
        for _ in 0..<8 {
          waker.wake()
          usleep(pause)
        }
      })
  }
}

extension Engine where Self: ~Copyable {
  /// A descriptor of the engine's that nothing uses.
  mutating func bindSpare(_ like: SocketAddress) throws -> Descriptor {
    try listen(
      SocketAddress.resolve(host: "127.0.0.1", port: 0)[0], backlog: 1, reusePort: false)
  }
}
