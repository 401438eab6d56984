// Sockets that leave an engine, and that come from elsewhere.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Moving {
    @Test(arguments: completeEngines)
    func aSocketThatWasGivenUpAndTakenBackGoesOnWhereItWas(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        peer.send("ab")
        let number = harness.engine.surrender(socket)
        #expect(number == socket.rawValue)
        peer.send("cd")
        let back = try harness.engine.adopt(number)
        #expect(back == socket)
        try exchange(harness, back, peer, expecting: "abcd")
        harness.engine.close(back)
      }
    }

    @Test(arguments: completeEngines)
    func itMovesAfterAReceiveThatWasStopped(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, peer) = try harness.connection()
        let receive = harness.token()
        harness.engine.receive(socket, .stream, receive)
        harness.turn()
        harness.engine.stopReceiving(socket)
        try harness.expect(receive, -ECANCELED)
        peer.send("after")
        let back = try harness.engine.adopt(harness.engine.surrender(socket))
        try exchange(harness, back, peer, expecting: "after")
        harness.engine.close(back)
      }
    }

    @Test(arguments: completeKernelEngines)
    func aSocketMovesToAnotherEngineOfItsKind(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { first in
        try withHarness(kind, isComparable: false) { second in
          let (socket, peer) = try first.connection()
          peer.send("early ")
          let moved = try second.engine.adopt(first.engine.surrender(socket))
          peer.send("late")
          try exchange(second, moved, peer, expecting: "early late")
          // The first engine hears nothing of it any more, and its number is free there.
          first.turn()
          #expect(first.engine.counters.operationsInFlight == 0)
          second.engine.close(moved)
        }
      }
    }

    @Test(arguments: completeKernelEngines)
    func aListenerThatWasOpenedElsewhereAccepts(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let address = try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
        let opened = try ListeningSocket.open(address)
        let listener = try harness.engine.adoptListener(opened)
        #expect(listener.rawValue == opened)
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        let peer = try harness.peer(to: listener)
        try harness.turn(until: { harness[accept].results.count == 1 }, "accept")
        harness.engine.stopAccepting(listener)
        try harness.expect(accept, -ECANCELED)
        let socket = Descriptor(rawValue: harness[accept].results[0])
        peer.send("hello")
        try exchange(harness, socket, peer, expecting: "hello")
        harness.engine.close(socket)
        harness.engine.close(listener)
      }
    }

    /// Whether some epoll instance of this process watches a file, proc_pid_fdinfo(5).
    private static func isWatched(_ number: Int32) throws -> Bool {
      var facts = stat()
      guard fstat(number, &facts) == 0 else { return false }
      let wanted = " ino:" + String(facts.st_ino, radix: 16) + " "
      for name in try BlockingFiles.list("/proc/self/fdinfo") {
        // Other tests open and close descriptors meanwhile.
        let path = "/proc/self/fdinfo/" + name
        guard let file = try? BlockingFiles.open(path, .read) else { continue }
        var text = [UInt8](repeating: 0, count: 65_536)
        let count = text.withUnsafeMutableBytes { (try? file.read(into: $0, at: 0)) ?? 0 }
        let lines = String(decoding: text[..<count], as: UTF8.self).split(separator: "\n")
        if lines.contains(where: { $0.hasPrefix("tfd:") && $0.contains(wanted) }) { return true }
      }
      return false
    }

    /// Another process may have the same socket, and the kernel watches it for as long: what comes to it
    /// concerns this engine no more.
    @Test(arguments: completeKernelEngines)
    func aListenerThatIsClosedWhileOthersHaveItIsWatchedNoMore(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let address = try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
        let opened = try ListeningSocket.open(address)
        let other = try ListeningSocket.duplicate(opened)
        defer { ListeningSocket.close(other) }
        let listener = try harness.engine.adoptListener(opened)
        let accept = harness.token()
        harness.engine.accept(listener, accept)
        harness.turn()
        #expect(try Self.isWatched(other) == (kind == .epoll))
        harness.engine.stopAccepting(listener)
        try harness.expect(accept, -ECANCELED)
        harness.engine.close(listener)
        #expect(try !Self.isWatched(other))
      }
    }

    @Test(arguments: completeKernelEngines)
    func whatDoesNotListenIsRefusedAndClosed(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        func failure(_ number: Int32) -> Int32 {
          do {
            _ = try harness.engine.adoptListener(number)
            return 0
          } catch { return (error as? SystemFailure)?.code ?? -1 }
        }
        #expect(failure(socket) == EINVAL)
        #expect(fcntl(socket, F_GETFD) == -1)
        #expect(failure(-1) == EBADF)
      }
    }

    @Test(arguments: completeKernelEngines)
    func theEndOfASocketPairIsTakenOver(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        for flags in [Int32(0), Int32(SOCK_NONBLOCK.rawValue)] {
          var pair: [Int32] = [-1, -1]
          #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | flags, 0, &pair) == 0)
          let socket = try harness.engine.adopt(pair[0])
          let receive = harness.token()
          harness.engine.receive(socket, .once, receive)
          harness.turn()
          #expect(Glibc.write(pair[1], "hello", 5) == 5)
          try harness.expect(receive, 5)
          harness.engine.close(socket)
          Glibc.close(pair[1])
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNumberThatIsNotOpenIsEBADF(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        for number: Int32 in [-1, 900] {
          refusal(harness, number, EBADF)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNumberBeyondTheEnginesTableIsEMFILE(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let beyond = Int32(Harness.options.descriptorLimit)
        refusal(harness, beyond, EMFILE)
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func whatIsNoConnectedStreamSocketIsRefusedAndStaysTheCallers(_ kind: EngineKind) throws {
      try withHarness(kind, isComparable: false) { harness in
        var pipe: [Int32] = [-1, -1]
        #expect(Glibc.pipe(&pipe) == 0)
        let datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        let unconnected = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        for (number, code) in [
          (pipe[0], ENOTSOCK), (datagrams, ENOTSOCK), (unconnected, ENOTCONN),
        ] {
          refusal(harness, number, code)
          #expect(fcntl(number, F_GETFD) >= 0, "it was closed")
          Glibc.close(number)
        }
        Glibc.close(pipe[1])
      }
    }

    /// No socket, whoever has opened it.
    @Test(.tags(.failure), arguments: completeEngines)
    func aFileOfTheEngineIsENOTSOCK(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let file = try harness.open(harness.outside.directory() + "/file", O_RDWR | O_CREAT)
        refusal(harness, file.rawValue, ENOTSOCK)
        try harness.closeFile(file)
      }
    }

    /// Its record was written over, with the operations on it.
    @Test(.tags(.failure), arguments: completeEngines, [false, true])
    func takingOverASocketThatIsOpenHereTraps(_ kind: EngineKind, _ receives: Bool) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try harness.connection().socket
          if receives { harness.engine.receive(harness.kept, .stream, harness.token()) }
        }
      ) { harness in
        _ = try harness.engine.adopt(harness.kept.rawValue)
      }
    }

    /// The number of a socket that a chain of the kernel's has closed is whoever's has it by now,
    /// though nobody has looked at the completion. In a child, where nobody else opens anything.
    @Test(arguments: completeKernelEngines, Chains.ways)
    func aNumberThatAChainHasClosedIsTakenOverBeforeThatIsSeen(
      _ kind: EngineKind, _ way: EngineFeatures
    ) {
      inChild(kind, Chains.options(way)) { harness in
        let (socket, peer) = try harness.connection()
        var pair: [Int32] = [-1, -1]
        try demand(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        let (first, close) = (harness.token(), harness.token())
        chain(harness) {
          harness.engine.nop(first)
          harness.engine.close(socket, close)
        }
        // Turns whose reports nobody takes.
        for _ in 0..<1000 where fcntl(socket.rawValue, F_GETFD) >= 0 {
          harness.engine.refreshClocks()
          harness.engine.wait(until: 0)
          usleep(100)
        }
        try demand(fcntl(socket.rawValue, F_GETFD) == -1)
        try demand(dup2(pair[0], socket.rawValue) == socket.rawValue)
        Glibc.close(pair[0])
        let again = try harness.engine.adopt(socket.rawValue)
        try demand(harness.end(close) == 0)
        let receive = harness.token()
        harness.engine.receive(again, .once, receive)
        try demand(Glibc.write(pair[1], "hello", 5) == 5)
        try demand(harness.end(receive) == 5)
        harness.engine.close(again)
        withExtendedLifetime(peer) {}
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func givingUpAListenerTraps(_ kind: EngineKind) async {
      await traps(kind, before: { harness in harness.kept = try harness.listener() }) { harness in
        _ = harness.engine.surrender(harness.kept)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func givingUpADatagramSocketTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try harness.engine.bindDatagrams(
            .loopback(), reusePort: false, coalesce: false)
        }
      ) { harness in
        _ = harness.engine.surrender(harness.kept)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func givingUpTheEndOfAPipeTraps(_ kind: EngineKind) async {
      await traps(
        kind, before: { harness in harness.kept = try harness.engine.pipe(capacity: 4096).output }
      ) { harness in
        _ = harness.engine.surrender(harness.kept)
      }
    }

    @Test(.tags(.failure)) func givingUpASocketWithAReceiveInFlightTrapsOnEpoll() async {
      await #expect(processExitsWith: .failure) { surrenderInFlight(.epoll) }
    }

    @Test(.tags(.failure), .enabled(if: ringFailure == nil, "io_uring is refused"))
    func givingUpASocketWithAReceiveInFlightTrapsOnTheRing() async {
      await #expect(processExitsWith: .failure) { surrenderInFlight(.uring) }
    }
  }
}

/// Bytes one way and back.
private func exchange(
  _ harness: Harness, _ socket: Descriptor, _ peer: any Peer, expecting text: String
) throws {
  let receive = harness.token()
  harness.engine.receive(socket, .stream, receive)
  try harness.turn(until: { harness[receive].bytes.count >= text.utf8.count })
  #expect(harness[receive].bytes == Array(text.utf8))
  let send = harness.token()
  harness.engine.send(socket, try harness.frame("back"), .awaited, send)
  try harness.expect(send, 4)
  #expect(try harness.received(by: peer, 4) == Array("back".utf8))
  harness.engine.stopReceiving(socket)
  try harness.expect(receive, -ECANCELED)
}

private func refusal(_ harness: Harness, _ number: Int32, _ code: Int32) {
  harness.showedFailure = true
  do {
    _ = try harness.engine.adopt(number)
    Issue.record("\(number) was taken over")
  } catch let failure as SystemFailure {
    #expect(failure.code == code)
  } catch {
    Issue.record(error)
  }
}

private func surrenderInFlight(_ kind: EngineKind) {
  orSucceed(kind) { harness in
    let (socket, _) = try harness.connection()
    harness.engine.receive(socket, .stream, Token(rawValue: 1))
    harness.turn()
    _ = harness.engine.surrender(socket)
  }
}
