// One script over everything that an engine did in its first days; the comparison of transcripts
// itself is the stage's. Here is also the proof that a transcript shows what it must show.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Transcribing {
    @Test(arguments: engines)
    func theEnginesCannotBeToldApart(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        try exchange(stage)
        try endings(stage)
        try connects(stage)
        try files(stage)
        #expect(stage.engine.transcript.lines.count >= 20, "the script was cut short")
      }
    }

    private typealias Deed = (Transcript) -> Void
    private static let token = Token(rawValue: 1)

    /// The transcript of one operation that did this.
    private func lines(_ operation: Transcript.Operation, _ deed: Deed) -> [String] {
      let transcript = Transcript()
      transcript.made(Self.token, "here")
      transcript.began(operation, Self.token)
      deed(transcript)
      return transcript.lines
    }

    private func ends(_ results: Int32...) -> Deed {
      return { transcript in
        for (i, result) in results.enumerated() {
          transcript.note(result, isTerminal: i == results.count - 1, Self.token)
        }
      }
    }

    @Test func theTranscriptWouldShowADifference() {
      #expect(lines(.receive, ends(-ECONNRESET)) != lines(.receive, ends(0)))
      #expect(
        lines(.receive) { $0.note([1, 2], Self.token) }
          != lines(.receive) { $0.note([2, 1], Self.token) })
      #expect(lines(.receive, ends(0)) != lines(.send, ends(0)))
      #expect(lines(.write, ends(1)) != lines(.write, ends(2)))
      #expect(lines(.send, ends(-EPIPE)) != lines(.send, ends(5)))
      #expect(lines(.nop, ends(0)) != lines(.nop, ends(0, 0)))
      #expect(lines(.relay, ends(5, 6)) != lines(.relay, ends(5, 7)))
      #expect(lines(.relay, ends(5, -ECANCELED)) != lines(.relay, ends(5, 0)))
      #expect(lines(.nop, ends()) != lines(.nop, ends(0)), "an operation that never ended")
      #expect(
        lines(.nop) { _ = try? $0.thrown(.listen) { throw StageFailure("x") } }
          != lines(.nop) { _ in })
    }

    @Test func theTranscriptLeavesOutOnlyWhatMayDiffer() {
      #expect(lines(.send, ends(-EPIPE)) == lines(.send, ends(-ECONNRESET)))
      #expect(lines(.accept, ends(7)) == lines(.accept, ends(9)))
      #expect(lines(.relay, ends(5, 6)) == lines(.relay, ends(11)))
      #expect(lines(.sendZeroCopy, ends(9, 0)) == lines(.sendZeroCopy, ends(9, 1)))
      let whole = lines(.receive) { $0.note([1, 2], Self.token) }
      let parts = lines(.receive) {
        $0.note([1], Self.token); $0.note([2], Self.token)
      }
      #expect(whole == parts)
      for result in [0, -ECANCELED] as [Int32] {
        let raced = lines(.connect) {
          $0.mayRace(Self.token); self.ends(result)($0)
        }
        #expect(raced == ["here connect: raced"])
      }
    }
  }
}

/// A request and its answer, a body in large pieces, a half-close.
private func exchange(_ stage: Stage) throws {
  let (socket, peer) = try stage.connection()
  let head = stage.token()
  stage.engine.receive(socket, .stream, head)
  peer.send("GET / HTTP/1.1\r\n")
  peer.send("Host: a\r\n\r\n")
  try stage.turn(until: { stage[head].bytes.count == 27 })
  stage.engine.stopReceiving(socket)
  try stage.end(head)
  let quiet = stage.token()
  stage.engine.send(socket, try stage.frame("HTTP/1.1 200 OK\r\n\r\n"), .quiet, quiet)
  stage.engine.expediteSends()
  try stage.end(quiet)
  #expect(try stage.received(by: peer, 19).count == 19)
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
  #expect(body == bytes)
  let big = stage.token()
  stage.engine.send(socket, try coldFrame(stage, bytes + bytes + bytes), .awaited, big)
  #expect(try stage.received(by: peer, 3 * bytes.count) == bytes + bytes + bytes)
  try stage.end(big)
  let rest = stage.token()
  stage.engine.receive(socket, .stream, rest)
  peer.send("bye")
  peer.finishSending()
  try stage.end(rest)
  stage.engine.close(socket)
}

private func endings(_ stage: Stage) throws {
  let (first, firstPeer) = try stage.connection()
  let receive = stage.token()
  stage.engine.receive(first, .stream, receive)
  stage.turn()
  firstPeer.reset()
  try stage.end(receive)
  let late = stage.token()
  stage.engine.send(first, try stage.frame("late"), .quiet, late)
  stage.engine.expediteSends()
  try stage.end(late)
  stage.engine.close(first)

  let (second, secondPeer) = try stage.connection()
  let stalled = stage.token()
  stage.engine.send(second, try coldFrame(stage, pattern(8 << 20)), .quiet, stalled)
  for _ in 0..<5 { stage.turn(within: 2) }
  #expect(stage.ending(stalled) == nil)
  secondPeer.reset()
  try stage.end(stalled)
  stage.engine.close(second)

  let (third, _) = try stage.connection()
  let receiveThird = stage.token()
  let sendThird = stage.token()
  stage.engine.receive(third, .once, receiveThird)
  stage.engine.send(third, try coldFrame(stage, pattern(8 << 20)), .quiet, sendThird)
  for _ in 0..<5 { stage.turn(within: 2) }
  stage.engine.shutdown(third, .both)
  try stage.end(receiveThird)
  try stage.end(sendThird)
  stage.engine.close(third)
}

private func connects(_ stage: Stage) throws {
  let listener = try stage.listener()
  let address = try stage.address(of: listener)
  let good = stage.token()
  let socket = try stage.engine.connect(address, good)
  try stage.end(good)
  stage.engine.close(socket)
  let raced = stage.token()
  let other = try stage.engine.connect(address, raced)
  stage.engine.cancelConnect(other)
  stage.engine.transcript.mayRace(raced)
  try stage.end(raced)
  stage.engine.close(other)
  stage.engine.close(listener)
  let refused = stage.token()
  let third = try stage.engine.connect(address, refused)
  try stage.end(refused)
  stage.engine.close(third)
  let missing = stage.token()
  let unix = try #require(SocketAddress(unixPath: "/tmp/no/such/socket"))
  let fourth = try stage.engine.connect(unix, missing)
  try stage.end(missing)
  stage.engine.close(fourth)
}

private func files(_ stage: Stage) throws {
  let missing = stage.token()
  stage.engine.open("/tmp/no/such/file", flags: O_RDONLY, mode: 0, missing)
  try stage.end(missing)
  let opened = stage.token()
  stage.engine.open("/dev/full", flags: O_RDWR, mode: 0, opened)
  let file = Descriptor(rawValue: try stage.end(opened))
  let write = stage.token()
  stage.engine.write(
    file, from: FileBuffer(capacity: 512), count: 512, offset: 0, durable: false, write)
  try stage.end(write)
  let read = stage.token()
  stage.engine.read(file, into: FileBuffer(capacity: 512), count: 100, offset: 0, read)
  try stage.end(read)
  let cut = stage.token()
  stage.engine.truncate(file, length: 0, cut)
  try stage.end(cut)
  let close = stage.token()
  stage.engine.closeFile(file, close)
  try stage.end(close)
}
