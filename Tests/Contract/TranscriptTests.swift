// One script, both engines, one transcript: what may differ is normalised away, and only that.
// Bytes are joined per operation, each operation shows its one ending, and a race that either side
// may win is folded into one word.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Transcripts {
    @Test(.enabled(if: ringFailure == nil, "io_uring is refused: there is nothing to compare"))
    func theEnginesCannotBeToldApart() throws {
      let ring = try transcript(.uring)
      let epoll = try transcript(.epoll)
      #expect(ring == epoll)
      #expect(ring.count == 23, "the script was cut short")
    }

    @Test func theTranscriptWouldShowADifference() {
      var first = Transcript()
      var second = Transcript()
      first.note("a", result: -ECONNRESET)
      second.note("a", result: 0)
      #expect(first.lines != second.lines)
      first = Transcript()
      second = Transcript()
      first.note("a", bytes: [1, 2], result: 0)
      second.note("a", bytes: [2, 1], result: 0)
      #expect(first.lines != second.lines)
    }
  }
}

private struct Transcript {
  private(set) var lines: [String] = []

  mutating func note(_ name: String, bytes: [UInt8] = [], result: Int32) {
    var sum: UInt64 = 14_695_981_039_346_656_037
    for byte in bytes { sum = (sum ^ UInt64(byte)) &* 1_099_511_628_211 }
    lines.append("\(name): \(bytes.count) bytes \(sum) \(result)")
  }

  /// A send into a reset connection: which of the two errors depends on who looked first.
  mutating func noteBroken(_ name: String, result: Int32) {
    let broken = result == -EPIPE || result == -ECONNRESET
    lines.append("\(name): \(broken ? "broken" : "\(result)")")
  }

  /// A cancellation that may come too late.
  mutating func noteRace(_ name: String, result: Int32) {
    lines.append("\(name): \(result == 0 || result == -ECANCELED ? "raced" : "\(result)")")
  }
}

private func transcript(_ kind: EngineKind) throws -> [String] {
  var transcript = Transcript()
  try onStage(kind) { stage in
    try exchange(stage, &transcript)
    try endings(stage, &transcript)
    try connects(stage, &transcript)
    try files(stage, &transcript)
  }
  return transcript.lines
}

/// A request and its answer, a body in large pieces, a half-close.
private func exchange(_ stage: Stage, _ transcript: inout Transcript) throws {
  let (socket, peer) = try stage.connection()
  let head = stage.token()
  stage.engine.receive(socket, .stream, head)
  peer.send("GET / HTTP/1.1\r\n")
  peer.send("Host: a\r\n\r\n")
  try stage.turn(until: { stage[head].bytes.count == 27 })
  stage.engine.stopReceiving(socket)
  transcript.note("head", bytes: stage[head].bytes, result: try stage.end(head))
  let quiet = stage.token()
  stage.engine.send(socket, try stage.frame("HTTP/1.1 200 OK\r\n\r\n"), .quiet, quiet)
  stage.engine.expediteSends()
  transcript.note("quiet send", result: try stage.end(quiet))
  transcript.note("answer", bytes: try stage.received(by: peer, 19), result: 0)
  var body: [UInt8] = []
  var sent = 0
  let bytes = pattern(500_000)
  while body.count < bytes.count {
    let once = stage.token()
    stage.engine.receive(socket, .once, once)
    try stage.turn(until: {
      if sent < bytes.count { sent += max(0, peer.send(Array(bytes[sent...]))) }
      return stage.ending(once) != nil
    })
    body += stage[once].bytes
  }
  transcript.note("body", bytes: body, result: 0)
  let big = stage.token()
  stage.engine.send(socket, try coldFrame(stage, bytes + bytes + bytes), .awaited, big)
  transcript.note("big", bytes: try stage.received(by: peer, 3 * bytes.count), result: 0)
  transcript.note("big send", result: try stage.end(big))
  let rest = stage.token()
  stage.engine.receive(socket, .stream, rest)
  peer.send("bye")
  peer.finishSending()
  transcript.note("rest", result: try stage.end(rest))
  transcript.note("rest bytes", bytes: stage[rest].bytes, result: 0)
  stage.engine.close(socket)
}

private func endings(_ stage: Stage, _ transcript: inout Transcript) throws {
  let (first, firstPeer) = try stage.connection()
  let receive = stage.token()
  stage.engine.receive(first, .stream, receive)
  stage.turn()
  firstPeer.reset()
  transcript.note("reset", result: try stage.end(receive))
  let late = stage.token()
  stage.engine.send(first, try stage.frame("late"), .quiet, late)
  stage.engine.expediteSends()
  transcript.noteBroken("send after a reset", result: try stage.end(late))
  stage.engine.close(first)

  let (second, secondPeer) = try stage.connection()
  let stalled = stage.token()
  stage.engine.send(second, try coldFrame(stage, pattern(8 << 20)), .quiet, stalled)
  for _ in 0..<5 { stage.turn(within: 2) }
  transcript.note("stalled", result: stage.ending(stalled) ?? 1)
  secondPeer.reset()
  transcript.noteBroken("send at a reset", result: try stage.end(stalled))
  stage.engine.close(second)

  let (third, _) = try stage.connection()
  let receiveThird = stage.token()
  let sendThird = stage.token()
  stage.engine.receive(third, .once, receiveThird)
  stage.engine.send(third, try coldFrame(stage, pattern(8 << 20)), .quiet, sendThird)
  for _ in 0..<5 { stage.turn(within: 2) }
  stage.engine.shutdown(third, .both)
  transcript.note("receive at a shutdown", result: try stage.end(receiveThird))
  transcript.note("send at a shutdown", result: try stage.end(sendThird))
  stage.engine.close(third)
}

private func connects(_ stage: Stage, _ transcript: inout Transcript) throws {
  let listener = try stage.listener()
  let address = try stage.address(of: listener)
  let good = stage.token()
  let socket = try stage.engine.connect(address, good)
  transcript.note("connect", result: try stage.end(good))
  stage.engine.close(socket)
  let raced = stage.token()
  let other = try stage.engine.connect(address, raced)
  stage.engine.cancelConnect(other)
  transcript.noteRace("cancelled connect", result: try stage.end(raced))
  stage.engine.close(other)
  stage.engine.close(listener)
  let refused = stage.token()
  let third = try stage.engine.connect(address, refused)
  transcript.note("refused", result: try stage.end(refused))
  stage.engine.close(third)
  let missing = stage.token()
  let unix = try #require(SocketAddress(unixPath: "/tmp/no/such/socket"))
  let fourth = try stage.engine.connect(unix, missing)
  transcript.note("missing", result: try stage.end(missing))
  stage.engine.close(fourth)
}

private func files(_ stage: Stage, _ transcript: inout Transcript) throws {
  let missing = stage.token()
  stage.engine.open("/tmp/no/such/file", flags: O_RDONLY, mode: 0, missing)
  transcript.note("open", result: try stage.end(missing))
  let opened = stage.token()
  stage.engine.open("/dev/full", flags: O_RDWR, mode: 0, opened)
  let file = Descriptor(rawValue: try stage.end(opened))
  let write = stage.token()
  stage.engine.write(
    file, from: FileBuffer(capacity: 512), count: 512, offset: 0, durable: false, write)
  transcript.note("full", result: try stage.end(write))
  let read = stage.token()
  stage.engine.read(file, into: FileBuffer(capacity: 512), count: 100, offset: 0, read)
  transcript.note("read", result: try stage.end(read))
  let cut = stage.token()
  stage.engine.truncate(file, length: 0, cut)
  transcript.note("truncate a device", result: try stage.end(cut))
  let close = stage.token()
  stage.engine.closeFile(file, close)
  transcript.note("close", result: try stage.end(close))
}
