// One script over everything that an engine did in its first days; the comparison of transcripts
// itself is the harness's. Here is also the proof that a transcript shows what it must show.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Transcribing {
    @Test(arguments: engines)
    func theEnginesCannotBeToldApart(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        try exchange(harness)
        try endings(harness)
        try connects(harness)
        try files(harness)
        #expect(harness.engine.transcript.lines.count >= 20, "the script was cut short")
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
        lines(.nop) { _ = try? $0.thrown(.listen) { throw HarnessFailure("x") } }
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
private func exchange(_ harness: Harness) throws {
  let (socket, peer) = try harness.connection()
  let head = harness.token()
  harness.engine.receive(socket, .stream, head)
  peer.send("GET / HTTP/1.1\r\n")
  peer.send("Host: a\r\n\r\n")
  try harness.turn(until: { harness[head].bytes.count == 27 })
  harness.engine.stopReceiving(socket)
  try harness.end(head)
  let quiet = harness.token()
  harness.engine.send(socket, try harness.frame("HTTP/1.1 200 OK\r\n\r\n"), .quiet, quiet)
  harness.engine.expediteSends()
  try harness.end(quiet)
  #expect(try harness.received(by: peer, 19).count == 19)
  var body: [UInt8] = []
  var sent = 0
  let bytes = pattern(500_000)
  while body.count < bytes.count {
    let once = harness.token()
    harness.engine.receive(socket, .once, once)
    try harness.turn(until: {
      if sent < bytes.count { sent += max(0, peer.send(Array(bytes[sent...]))) }
      return harness.ending(once) != nil
    })
    body += harness[once].bytes
  }
  #expect(body == bytes)
  let big = harness.token()
  harness.engine.send(socket, try coldFrame(harness, bytes + bytes + bytes), .awaited, big)
  #expect(try harness.received(by: peer, 3 * bytes.count) == bytes + bytes + bytes)
  try harness.end(big)
  let rest = harness.token()
  harness.engine.receive(socket, .stream, rest)
  peer.send("bye")
  peer.finishSending()
  try harness.end(rest)
  harness.engine.close(socket)
}

private func endings(_ harness: Harness) throws {
  let (first, firstPeer) = try harness.connection()
  let receive = harness.token()
  harness.engine.receive(first, .stream, receive)
  harness.turn()
  firstPeer.reset()
  try harness.end(receive)
  let late = harness.token()
  harness.engine.send(first, try harness.frame("late"), .quiet, late)
  harness.engine.expediteSends()
  try harness.end(late)
  harness.engine.close(first)

  let (second, secondPeer) = try harness.connection()
  let stalled = harness.token()
  harness.engine.send(second, try coldFrame(harness, pattern(8 << 20)), .quiet, stalled)
  for _ in 0..<5 { harness.turn(within: 2) }
  #expect(harness.ending(stalled) == nil)
  secondPeer.reset()
  try harness.end(stalled)
  harness.engine.close(second)

  let (third, _) = try harness.connection()
  let receiveThird = harness.token()
  let sendThird = harness.token()
  harness.engine.receive(third, .once, receiveThird)
  harness.engine.send(third, try coldFrame(harness, pattern(8 << 20)), .quiet, sendThird)
  for _ in 0..<5 { harness.turn(within: 2) }
  harness.engine.shutdown(third, .both)
  try harness.end(receiveThird)
  try harness.end(sendThird)
  harness.engine.close(third)
}

private func connects(_ harness: Harness) throws {
  let listener = try harness.listener()
  let address = try harness.address(of: listener)
  let good = harness.token()
  let socket = try harness.engine.connect(address, good)
  try harness.end(good)
  harness.engine.close(socket)
  let raced = harness.token()
  let other = try harness.engine.connect(address, raced)
  harness.engine.cancelConnect(other)
  harness.engine.transcript.mayRace(raced)
  try harness.end(raced)
  harness.engine.close(other)
  harness.engine.close(listener)
  let refused = harness.token()
  let third = try harness.engine.connect(address, refused)
  try harness.end(refused)
  harness.engine.close(third)
  let missing = harness.token()
  let unix = try #require(SocketAddress(unixPath: "/tmp/no/such/socket"))
  let fourth = try harness.engine.connect(unix, missing)
  try harness.end(missing)
  harness.engine.close(fourth)
}

private func files(_ harness: Harness) throws {
  let missing = harness.token()
  harness.engine.open("/tmp/no/such/file", flags: O_RDONLY, mode: 0, missing)
  try harness.end(missing)
  let opened = harness.token()
  harness.engine.open("/dev/full", flags: O_RDWR, mode: 0, opened)
  let file = Descriptor(rawValue: try harness.end(opened))
  let write = harness.token()
  harness.engine.write(
    file, from: FileBuffer(capacity: 512), count: 512, offset: 0, durable: false, write)
  try harness.end(write)
  let read = harness.token()
  harness.engine.read(file, into: FileBuffer(capacity: 512), count: 100, offset: 0, read)
  try harness.end(read)
  let cut = harness.token()
  harness.engine.truncate(file, length: 0, cut)
  try harness.end(cut)
  let close = harness.token()
  harness.engine.closeFile(file, close)
  try harness.end(close)
}
