// Sockets that leave an engine, and that come from elsewhere.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Moving {
    @Test(arguments: completeEngines)
    func aSocketThatWasGivenUpAndTakenBackGoesOnWhereItWas(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        peer.send("ab")
        let number = stage.engine.surrender(socket)
        #expect(number == socket.rawValue)
        peer.send("cd")
        let back = try stage.engine.adopt(number)
        #expect(back == socket)
        try exchange(stage, back, peer, expecting: "abcd")
        stage.engine.close(back)
      }
    }

    @Test(arguments: completeEngines)
    func itMovesAfterAReceiveThatWasStopped(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, peer) = try stage.connection()
        let receive = stage.token()
        stage.engine.receive(socket, .stream, receive)
        stage.turn()
        stage.engine.stopReceiving(socket)
        try stage.expect(receive, -ECANCELED)
        peer.send("after")
        let back = try stage.engine.adopt(stage.engine.surrender(socket))
        try exchange(stage, back, peer, expecting: "after")
        stage.engine.close(back)
      }
    }

    @Test(arguments: completeKernelEngines)
    func aSocketMovesToAnotherEngineOfItsKind(_ kind: EngineKind) throws {
      try onStage(kind, isComparable: false) { first in
        try onStage(kind, isComparable: false) { second in
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
    func theEndOfASocketPairIsTakenOver(_ kind: EngineKind) throws {
      try onStage(kind, isComparable: false) { stage in
        for flags in [Int32(0), Int32(SOCK_NONBLOCK.rawValue)] {
          var pair: [Int32] = [-1, -1]
          #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | flags, 0, &pair) == 0)
          let socket = try stage.engine.adopt(pair[0])
          let receive = stage.token()
          stage.engine.receive(socket, .once, receive)
          stage.turn()
          #expect(Glibc.write(pair[1], "hello", 5) == 5)
          try stage.expect(receive, 5)
          stage.engine.close(socket)
          Glibc.close(pair[1])
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNumberThatIsNotOpenIsEBADF(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        for number: Int32 in [-1, 900] {
          refusal(stage, number, EBADF)
        }
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aNumberBeyondTheEnginesTableIsEMFILE(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let beyond = Int32(Stage.options.descriptorLimit)
        refusal(stage, beyond, EMFILE)
      }
    }

    @Test(.tags(.failure), arguments: completeKernelEngines)
    func whatIsNoConnectedStreamSocketIsRefusedAndStaysTheCallers(_ kind: EngineKind) throws {
      try onStage(kind, isComparable: false) { stage in
        var pipe: [Int32] = [-1, -1]
        #expect(Glibc.pipe(&pipe) == 0)
        let datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
        let unconnected = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        for (number, code) in [
          (pipe[0], ENOTSOCK), (datagrams, ENOTSOCK), (unconnected, ENOTCONN),
        ] {
          refusal(stage, number, code)
          #expect(fcntl(number, F_GETFD) >= 0, "it was closed")
          Glibc.close(number)
        }
        Glibc.close(pipe[1])
      }
    }

    /// No socket, whoever has opened it.
    @Test(.tags(.failure), arguments: completeEngines)
    func aFileOfTheEngineIsENOTSOCK(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let file = try stage.open(stage.outside.directory() + "/file", O_RDWR | O_CREAT)
        refusal(stage, file.rawValue, ENOTSOCK)
        try stage.closeFile(file)
      }
    }

    /// Its record was written over, with the operations on it.
    @Test(.tags(.failure), arguments: completeEngines, [false, true])
    func takingOverASocketThatIsOpenHereTraps(_ kind: EngineKind, _ receives: Bool) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try stage.connection().socket
          if receives { stage.engine.receive(stage.kept, .stream, stage.token()) }
        }
      ) { stage in
        _ = try stage.engine.adopt(stage.kept.rawValue)
      }
    }

    /// The number of a socket that a chain of the kernel's has closed is whoever's has it by now,
    /// though nobody has looked at the completion. In a child, where nobody else opens anything.
    @Test(arguments: completeKernelEngines, Chains.ways)
    func aNumberThatAChainHasClosedIsTakenOverBeforeThatIsSeen(
      _ kind: EngineKind, _ way: EngineFeatures
    ) {
      inChild(kind, Chains.options(way)) { stage in
        let (socket, peer) = try stage.connection()
        var pair: [Int32] = [-1, -1]
        try demand(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        let (first, close) = (stage.token(), stage.token())
        chain(stage) {
          stage.engine.nop(first)
          stage.engine.close(socket, close)
        }
        // Turns whose reports nobody takes.
        for _ in 0..<1000 where fcntl(socket.rawValue, F_GETFD) >= 0 {
          stage.engine.refreshClocks()
          stage.engine.wait(until: 0)
          usleep(100)
        }
        try demand(fcntl(socket.rawValue, F_GETFD) == -1)
        try demand(dup2(pair[0], socket.rawValue) == socket.rawValue)
        Glibc.close(pair[0])
        let again = try stage.engine.adopt(socket.rawValue)
        try demand(stage.end(close) == 0)
        let receive = stage.token()
        stage.engine.receive(again, .once, receive)
        try demand(Glibc.write(pair[1], "hello", 5) == 5)
        try demand(stage.end(receive) == 5)
        stage.engine.close(again)
        withExtendedLifetime(peer) {}
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func givingUpAListenerTraps(_ kind: EngineKind) async {
      await traps(kind, before: { stage in stage.kept = try stage.listener() }) { stage in
        _ = stage.engine.surrender(stage.kept)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func givingUpADatagramSocketTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try stage.engine.bindDatagrams(
            .loopback(), reusePort: false, coalesce: false)
        }
      ) { stage in
        _ = stage.engine.surrender(stage.kept)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func givingUpTheEndOfAPipeTraps(_ kind: EngineKind) async {
      await traps(
        kind, before: { stage in stage.kept = try stage.engine.pipe(capacity: 4096).output }
      ) { stage in
        _ = stage.engine.surrender(stage.kept)
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
  _ stage: Stage, _ socket: Descriptor, _ peer: any Peer, expecting text: String
) throws {
  let receive = stage.token()
  stage.engine.receive(socket, .stream, receive)
  try stage.turn(until: { stage[receive].bytes.count >= text.utf8.count })
  #expect(stage[receive].bytes == Array(text.utf8))
  let send = stage.token()
  stage.engine.send(socket, try stage.frame("back"), .awaited, send)
  try stage.expect(send, 4)
  #expect(try stage.received(by: peer, 4) == Array("back".utf8))
  stage.engine.stopReceiving(socket)
  try stage.expect(receive, -ECANCELED)
}

private func refusal(_ stage: Stage, _ number: Int32, _ code: Int32) {
  stage.showedFailure = true
  do {
    _ = try stage.engine.adopt(number)
    Issue.record("\(number) was taken over")
  } catch let failure as SystemFailure {
    #expect(failure.code == code)
  } catch {
    Issue.record(error)
  }
}

private func surrenderInFlight(_ kind: EngineKind) {
  orSucceed(kind) { stage in
    let (socket, _) = try stage.connection()
    stage.engine.receive(socket, .stream, Token(rawValue: 1))
    stage.turn()
    _ = stage.engine.surrender(socket)
  }
}
