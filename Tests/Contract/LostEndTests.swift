// The end of a stream that comes together with its last bytes: whatever the kernel makes of the two
// wake-ups, the engine must report both.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct LostEnds {
    enum Ending: CaseIterable, Sendable { case finish, close, reset }

    /// The peer's last bytes and its end are there before the receive is.
    @Test(arguments: kernelEngines, Ending.allCases)
    func anEndThatCameWithTheLastBytesIsReported(_ kind: EngineKind, _ ending: Ending) throws {
      try withHarness(kind) { harness in
        for _ in 0..<50 { try lastBytes(harness, ending, armedFirst: false) }
      }
    }

    @Test(arguments: kernelEngines, Ending.allCases)
    func anEndThatComesWithTheLastBytesIsReported(_ kind: EngineKind, _ ending: Ending) throws {
      try withHarness(kind) { harness in
        for _ in 0..<200 { try lastBytes(harness, ending, armedFirst: true) }
      }
    }

    /// Of UNIX sockets Linux 6.18 loses it within some hundred tries when the receive is a multishot
    /// and the peer runs on another CPU.
    @Test(arguments: kernelEngines)
    func theEndOfAUnixStreamIsReported(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let path = "/tmp/millrace-contract-\(getpid()).sock"
        unlink(path)
        defer { unlink(path) }
        let address = try #require(SocketAddress(unixPath: path))
        let listener = try harness.engine.listen(address, backlog: 16, reusePort: false)
        for round in 0..<1500 {
          let peer = KernelPeer(adopting: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
          let connected = address.withRaw { Glibc.connect(peer.descriptor, $0, $1) }
          #expect(connected == 0)
          let socket = try #require(harness.engine.acceptNow(listener))
          let receive = harness.token()
          harness.engine.receive(socket, .stream, receive)
          harness.turn()
          let descriptor = peer.descriptor
          let thread = try WorkerThread.start(name: "peer", cpu: nil) {
            _ = Glibc.send(descriptor, [UInt8](repeating: 7, count: 123), 123, 0)
            for _ in 0..<(round % 50) { _ = getppid() }
            Glibc.shutdown(descriptor, Int32(SHUT_WR))
          }
          #expect(try harness.end(receive) == 0)
          thread.join()
          #expect(harness[receive].bytes.count == 123)
          harness.engine.close(socket)
        }
        harness.engine.close(listener)
      }
    }

    /// Receives that waited for a buffer, of peers that send and reset meanwhile.
    @Test(arguments: kernelEngines)
    func aResetOfAPeerWhoseReceiveWaitedForABufferIsReported(_ kind: EngineKind) throws {
      var options = Harness.options
      options.smallBuffers = 4
      try withHarness(kind, options) { harness in
        harness.holdsSlices = true
        let connections = try (0..<8).map { _ in try harness.connection() }
        let receives = connections.map { socket, _ in
          let token = harness.token()
          harness.engine.receive(socket, .stream, token)
          return token
        }
        // A buffer's worth each: less would find room in one where buffers are consumed bit by bit.
        for (_, peer) in connections { peer.send(pattern(options.smallBufferSize)) }
        for _ in 0..<5 { harness.turn(within: 1) }
        #expect(harness.engine.counters.receivesStarved > 0, "nobody had to wait")
        for (_, peer) in connections { peer.reset() }
        harness.holdsSlices = false
        harness.held = []
        for (i, receive) in receives.enumerated() {
          #expect(try harness.end(receive) == -ECONNRESET)
          harness.engine.close(connections[i].socket)
        }
      }
    }
  }
}

private func lastBytes(
  _ harness: Harness, _ ending: Contract.LostEnds.Ending, armedFirst: Bool
) throws {
  let (socket, peer) = try harness.connection()
  let receive = harness.token()
  if armedFirst {
    harness.engine.receive(socket, .stream, receive)
    harness.turn()
  }
  peer.send(pattern(5000))
  switch ending {
  case .finish: peer.finishSending()
  case .close: peer.close()
  case .reset: peer.reset()
  }
  if !armedFirst { harness.engine.receive(socket, .stream, receive) }
  #expect(try harness.end(receive) == (ending == .reset ? -ECONNRESET : 0))
  if ending != .reset { #expect(harness[receive].bytes == pattern(5000)) }
  harness.engine.close(socket)
}
