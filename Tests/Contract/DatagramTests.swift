// Datagrams: whole or said to be cut, one by one or as the kernel joined them, in any number.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Datagrams {
    @Test(arguments: completeEngines)
    func aDatagramIsEchoedToItsSender(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, address) = try bound(stage)
        let outside = try stage.outside.datagrams()
        let receive = stage.token()
        stage.engine.receiveDatagrams(socket, receive)
        for size in [1, 100, 1472, 1473, 9000] {
          let bytes = pattern(size)
          #expect(outside.send(bytes, to: address) == size)
          let before = stage[receive].datagrams.count
          try stage.turn(until: { stage[receive].datagrams.count > before })
          let got = stage[receive].datagrams[before]
          #expect(got.content == bytes && !got.isTruncated && got.segmentSize == size)
          #expect("\(got.sender)" == "\(outside.address)")
          let send = stage.token()
          stage.engine.sendDatagram(
            socket, try stage.frame(got.content), to: got.sender, segmentSize: 0, send)
          try stage.expect(send, Int32(size))
          #expect(try arrived(stage, outside, 1) == [bytes])
        }
        try stopped(stage, socket, receive)
      }
    }

    @Test(arguments: completeEngines)
    func anEmptyDatagramIsADatagram(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, address) = try bound(stage)
        let outside = try stage.outside.datagrams()
        let receive = stage.token()
        stage.engine.receiveDatagrams(socket, receive)
        outside.send([], to: address)
        try stage.turn(until: { stage[receive].datagrams.count == 1 })
        #expect(stage[receive].datagrams[0].content == [])
        #expect(stage[receive].terminals == 0, "no end of a stream")
        let send = stage.token()
        stage.engine.sendDatagram(
          socket, stage.engine.frame()!, to: outside.address, segmentSize: 0, send)
        try stage.expect(send, 0)
        #expect(try arrived(stage, outside, 1) == [[]])
        try stopped(stage, socket, receive)
      }
    }

    @Test(arguments: completeEngines)
    func twoHundredInFlightAllArriveWhole(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        let outside = try stage.outside.datagrams()
        var sends: [Token] = []
        for i in 0..<200 {
          sends.append(stage.token())
          stage.engine.sendDatagram(
            socket, try stage.frame("datagram number \(i)"), to: outside.address, segmentSize: 0,
            sends[i])
        }
        for (i, send) in sends.enumerated() {
          #expect(try stage.end(send) == Int32("datagram number \(i)".utf8.count))
        }
        let got = Set(try arrived(stage, outside, 200).map { String(decoding: $0, as: UTF8.self) })
        #expect(got == Set((0..<200).map { "datagram number \($0)" }))
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [-1, 0, 1])
    func theLargestDatagramLeavesAndOneByteMoreIsEMSGSIZE(
      _ kind: EngineKind, _ beyond: Int
    ) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        let outside = try stage.outside.datagrams()
        let bytes = pattern(65_507 + beyond)
        let send = stage.token()
        stage.engine.sendDatagram(
          socket, try coldFrame(stage, bytes), to: outside.address, segmentSize: 0, send)
        if beyond > 0 {
          try stage.expect(send, -EMSGSIZE)
          // The socket is none the worse for it.
          let small = stage.token()
          stage.engine.sendDatagram(
            socket, try stage.frame("x"), to: outside.address, segmentSize: 0, small)
          try stage.expect(small, 1)
          #expect(try arrived(stage, outside, 1) == [[120]])
        } else {
          try stage.expect(send, Int32(bytes.count))
          #expect(try arrived(stage, outside, 1) == [bytes])
        }
        if beyond <= 0 { stage.showedFailure = true }
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramThatIsTooLargeForTheBufferIsCutAndSaysSo(_ kind: EngineKind) throws {
      var options = Stage.options
      options.largeBufferSize = 8192
      try onStage(kind, options, isComparable: false) { stage in
        let (socket, address) = try bound(stage)
        let outside = try stage.outside.datagrams()
        let receive = stage.token()
        stage.engine.receiveDatagrams(socket, receive)
        for (size, isCut) in [(7000, false), (8193, true), (20_000, true), (5, false)] {
          outside.send(pattern(size), to: address)
          let before = stage[receive].datagrams.count
          try stage.turn(until: { stage[receive].datagrams.count > before })
          let got = stage[receive].datagrams[before]
          #expect(got.isTruncated == isCut, "\(size) bytes")
          #expect(got.content == Array(pattern(size)[..<got.content.count]))
          #expect(isCut ? got.content.count > 7000 : got.content.count == size)
        }
        stage.showedFailure = true
        try stopped(stage, socket, receive)
      }
    }

    @Test(arguments: completeEngines)
    func aSegmentedFrameArrivesAsManyDatagrams(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        let outside = try stage.outside.datagrams()
        // The last is shorter; one whole; exactly one segment; less than one; the most there are.
        for (total, size) in [(1050, 100), (400, 100), (100, 100), (60, 100), (64 * 50, 50)] {
          let bytes = pattern(total)
          let send = stage.token()
          stage.engine.sendDatagram(
            socket, try stage.frame(bytes), to: outside.address, segmentSize: size, send)
          try stage.expect(send, Int32(total))
          let expected = stride(from: 0, to: total, by: size).map {
            Array(bytes[$0..<min($0 + size, total)])
          }
          #expect(try arrived(stage, outside, expected.count) == expected, "\(total) by \(size)")
        }
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func segmentsLargerThanThePathTakesAreRefused(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        let outside = try stage.outside.datagrams()
        let send = stage.token()
        stage.engine.sendDatagram(
          socket, try coldFrame(stage, pattern(65_508)), to: outside.address, segmentSize: 1000,
          send)
        try stage.expect(send, -EMSGSIZE)
        stage.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines)
    func coalescedDatagramsSayTheirSize(_ kind: EngineKind) throws {
      // How many are joined is the kernel's choice.
      try onStage(kind) { stage in
        let (receiver, address) = try bound(stage, coalesce: true)
        let (sender, _) = try bound(stage)
        let receive = stage.token()
        stage.engine.receiveDatagrams(receiver, receive)
        stage.turn()
        let bytes = pattern(1050)
        let send = stage.token()
        stage.engine.sendDatagram(
          sender, try stage.frame(bytes), to: address, segmentSize: 100, send)
        try stage.expect(send, 1050)
        try stage.turn(until: {
          stage[receive].datagrams.reduce(0) { $0 + $1.content.count } == 1050
        })
        let got = stage[receive].datagrams
        #expect(got.flatMap(\.content) == bytes)
        for datagram in got.dropLast() {
          #expect(datagram.segmentSize == 100 && datagram.content.count % 100 == 0)
        }
        let last = got[got.count - 1]
        #expect(last.segmentSize == min(100, last.content.count))
        try stopped(stage, receiver, receive)
        stage.engine.close(sender)
      }
    }

    @Test(arguments: completeEngines)
    func withoutCoalescingEachArrivesAlone(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (receiver, address) = try bound(stage)
        let (sender, _) = try bound(stage)
        let receive = stage.token()
        stage.engine.receiveDatagrams(receiver, receive)
        stage.turn()
        let send = stage.token()
        stage.engine.sendDatagram(
          sender, try stage.frame(pattern(250)), to: address, segmentSize: 100, send)
        try stage.expect(send, 250)
        try stage.turn(until: { stage[receive].datagrams.count == 3 })
        #expect(stage[receive].datagrams.map(\.content.count) == [100, 100, 50])
        #expect(stage[receive].datagrams.map(\.segmentSize) == [100, 100, 50])
        try stopped(stage, receiver, receive)
        stage.engine.close(sender)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func stoppingKeepsWhatComesLaterForTheNextReceive(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, address) = try bound(stage)
        let outside = try stage.outside.datagrams()
        let first = stage.token()
        stage.engine.receiveDatagrams(socket, first)
        stage.turn(within: 2)
        stage.engine.stopReceiving(socket)
        stage.engine.stopReceiving(socket)
        try stage.expect(first, -ECANCELED)
        for text in ["one", "two", "three"] { outside.send(Array(text.utf8), to: address) }
        for _ in 0..<3 { stage.turn(within: 2) }
        #expect(stage[first].datagrams.isEmpty)
        let next = stage.token()
        stage.engine.receiveDatagrams(socket, next)
        try stage.turn(until: { stage[next].datagrams.count == 3 })
        let texts = stage[next].datagrams.map { String(decoding: $0.content, as: UTF8.self) }
        #expect(texts == ["one", "two", "three"])
        try stopped(stage, socket, next)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aReceiveOfDatagramsIsCancelledByItsTokenAndByItsSocket(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        for byAll in [false, true] {
          let receive = stage.token()
          stage.engine.receiveDatagrams(socket, receive)
          stage.turn(within: 2)
          byAll ? stage.engine.cancelAll(socket) : stage.engine.cancel(receive)
          try stage.expect(receive, -ECANCELED)
        }
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func withoutABufferDatagramsWaitInTheSocket(_ kind: EngineKind) throws {
      var options = Stage.options
      options.largeBuffers = 4
      try onStage(kind, options) { stage in
        let (socket, address) = try bound(stage)
        let outside = try stage.outside.datagrams()
        var held: [HeldSlice] = []
        while let slice = stage.engine.lease() { held.append(HeldSlice(slice)) }
        let receive = stage.token()
        stage.engine.receiveDatagrams(socket, receive)
        for i in 0..<10 { outside.send([UInt8(i)], to: address) }
        for _ in 0..<5 { stage.turn(within: 2) }
        #expect(stage[receive].datagrams.isEmpty && stage[receive].terminals == 0)
        #expect(stage.engine.counters.receivesStarved > 0)
        held = []
        try stage.turn(until: { stage[receive].datagrams.count == 10 })
        #expect(stage[receive].datagrams.map(\.content) == (0..<10).map { [UInt8($0)] })
        _ = held
        try stopped(stage, socket, receive)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramToAnAddressOfAnotherFamilyIsRefused(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        let send = stage.token()
        stage.engine.sendDatagram(
          socket, try stage.frame("x"), to: try .loopback(9, host: "::1"), segmentSize: 0, send)
        try stage.expect(send, -EAFNOSUPPORT)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramToPortZeroIsEINVAL(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let (socket, _) = try bound(stage)
        let send = stage.token()
        stage.engine.sendDatagram(
          socket, try stage.frame("x"), to: try .loopback(0), segmentSize: 0, send)
        try stage.expect(send, -EINVAL)
        stage.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAddressInUseIsThrownUnlessThePortIsShared(_ kind: EngineKind) throws {
      try onStage(kind) { stage in
        let first = try stage.engine.bindDatagrams(.loopback(), reusePort: true, coalesce: false)
        let address = try stage.address(of: first)
        do {
          _ = try stage.engine.bindDatagrams(address, reusePort: false, coalesce: false)
          Issue.record("bound twice")
        } catch let failure as SystemFailure {
          #expect(failure.code == EADDRINUSE)
        }
        let second = try stage.engine.bindDatagrams(address, reusePort: true, coalesce: false)
        stage.engine.close(first)
        stage.engine.close(second)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingWithAReceiveOfDatagramsInFlightTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { stage in
          stage.kept = try bound(stage).socket
          stage.engine.receiveDatagrams(stage.kept, stage.token())
        }
      ) { stage in
        stage.engine.close(stage.kept)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func redeemingADatagramTwiceTraps(_ kind: EngineKind) async {
      var found: Completion?
      await traps(
        kind,
        before: { stage in
          let (socket, address) = try bound(stage)
          let outside = try stage.outside.datagrams()
          stage.watch = { if $0.hasDatagram { found = $0 } }
          stage.engine.receiveDatagrams(socket, stage.token())
          outside.send([1], to: address)
          try stage.turn(until: { found != nil })
        }
      ) { stage in
        guard let found else { return }
        _ = stage.engine.takeDatagram(found)
      }
    }
  }
}

private func bound(
  _ stage: Stage, coalesce: Bool = false
) throws -> (socket: Descriptor, address: SocketAddress) {
  let socket = try stage.engine.bindDatagrams(
    .loopback(), reusePort: false, coalesce: coalesce)
  return (socket, try stage.address(of: socket))
}

/// What has come to the outside, in order, once it is so many.
private func arrived(
  _ stage: Stage, _ outside: any OutsideDatagrams, _ count: Int
) throws -> [[UInt8]] {
  var got: [[UInt8]] = []
  try stage.turn(
    until: {
      while let datagram = outside.receive() { got.append(datagram) }
      return got.count >= count
    }, "\(count) datagrams outside")
  return got
}

private func stopped(_ stage: Stage, _ socket: Descriptor, _ receive: Token) throws {
  stage.engine.stopReceiving(socket)
  try stage.expect(receive, -ECANCELED)
  stage.engine.close(socket)
}
