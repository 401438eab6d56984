// Datagrams: whole or said to be cut, one by one or as the kernel joined them, in any number.

import CLinux
import Glibc
import MillraceEngine
import Testing

extension Contract {
  @Suite struct Datagrams {
    @Test(arguments: completeEngines)
    func aDatagramIsEchoedToItsSender(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, address) = try bound(harness)
        let outside = try harness.outside.datagrams()
        let receive = harness.token()
        harness.engine.receiveDatagrams(socket, receive)
        for size in [1, 100, 1472, 1473, 9000] {
          let bytes = pattern(size)
          #expect(outside.send(bytes, to: address) == size)
          let before = harness[receive].datagrams.count
          try harness.turn(until: { harness[receive].datagrams.count > before })
          let got = harness[receive].datagrams[before]
          #expect(got.content == bytes && !got.isTruncated && got.segmentSize == size)
          #expect("\(got.sender)" == "\(outside.address)")
          let send = harness.token()
          harness.engine.sendDatagram(
            socket, try harness.frame(got.content), to: got.sender, segmentSize: 0, send)
          try harness.expect(send, Int32(size))
          #expect(try arrived(harness, outside, 1) == [bytes])
        }
        try stopped(harness, socket, receive)
      }
    }

    @Test(arguments: completeEngines)
    func anEmptyDatagramIsADatagram(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, address) = try bound(harness)
        let outside = try harness.outside.datagrams()
        let receive = harness.token()
        harness.engine.receiveDatagrams(socket, receive)
        outside.send([], to: address)
        try harness.turn(until: { harness[receive].datagrams.count == 1 })
        #expect(harness[receive].datagrams[0].content == [])
        #expect(harness[receive].terminals == 0, "no end of a stream")
        let send = harness.token()
        harness.engine.sendDatagram(
          socket, harness.engine.frame()!, to: outside.address, segmentSize: 0, send)
        try harness.expect(send, 0)
        #expect(try arrived(harness, outside, 1) == [[]])
        try stopped(harness, socket, receive)
      }
    }

    @Test(arguments: completeEngines)
    func twoHundredInFlightAllArriveWhole(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        let outside = try harness.outside.datagrams()
        var sends: [Token] = []
        for i in 0..<200 {
          sends.append(harness.token())
          harness.engine.sendDatagram(
            socket, try harness.frame("datagram number \(i)"), to: outside.address, segmentSize: 0,
            sends[i])
        }
        for (i, send) in sends.enumerated() {
          #expect(try harness.end(send) == Int32("datagram number \(i)".utf8.count))
        }
        let got = Set(
          try arrived(harness, outside, 200).map { String(decoding: $0, as: UTF8.self) })
        #expect(got == Set((0..<200).map { "datagram number \($0)" }))
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines, [-1, 0, 1])
    func theLargestDatagramLeavesAndOneByteMoreIsEMSGSIZE(
      _ kind: EngineKind, _ beyond: Int
    ) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        let outside = try harness.outside.datagrams()
        let bytes = pattern(65_507 + beyond)
        let send = harness.token()
        harness.engine.sendDatagram(
          socket, try coldFrame(harness, bytes), to: outside.address, segmentSize: 0, send)
        if beyond > 0 {
          try harness.expect(send, -EMSGSIZE)
          // The socket is none the worse for it.
          let small = harness.token()
          harness.engine.sendDatagram(
            socket, try harness.frame("x"), to: outside.address, segmentSize: 0, small)
          try harness.expect(small, 1)
          #expect(try arrived(harness, outside, 1) == [[120]])
        } else {
          try harness.expect(send, Int32(bytes.count))
          #expect(try arrived(harness, outside, 1) == [bytes])
        }
        if beyond <= 0 { harness.showedFailure = true }
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramThatIsTooLargeForTheBufferIsCutAndSaysSo(_ kind: EngineKind) throws {
      var options = Harness.options
      options.largeBufferSize = 8192
      try withHarness(kind, options, isComparable: false) { harness in
        let (socket, address) = try bound(harness)
        let outside = try harness.outside.datagrams()
        let receive = harness.token()
        harness.engine.receiveDatagrams(socket, receive)
        for (size, isCut) in [(7000, false), (8193, true), (20_000, true), (5, false)] {
          outside.send(pattern(size), to: address)
          let before = harness[receive].datagrams.count
          try harness.turn(until: { harness[receive].datagrams.count > before })
          let got = harness[receive].datagrams[before]
          #expect(got.isTruncated == isCut, "\(size) bytes")
          #expect(got.content == Array(pattern(size)[..<got.content.count]))
          #expect(isCut ? got.content.count > 7000 : got.content.count == size)
        }
        harness.showedFailure = true
        try stopped(harness, socket, receive)
      }
    }

    @Test(arguments: completeEngines)
    func aSegmentedFrameArrivesAsManyDatagrams(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        let outside = try harness.outside.datagrams()
        // The last is shorter; one whole; exactly one segment; less than one; the most there are.
        for (total, size) in [(1050, 100), (400, 100), (100, 100), (60, 100), (64 * 50, 50)] {
          let bytes = pattern(total)
          let send = harness.token()
          harness.engine.sendDatagram(
            socket, try harness.frame(bytes), to: outside.address, segmentSize: size, send)
          try harness.expect(send, Int32(total))
          let expected = stride(from: 0, to: total, by: size).map {
            Array(bytes[$0..<min($0 + size, total)])
          }
          #expect(try arrived(harness, outside, expected.count) == expected, "\(total) by \(size)")
        }
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func segmentsLargerThanThePathTakesAreRefused(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        let outside = try harness.outside.datagrams()
        let send = harness.token()
        harness.engine.sendDatagram(
          socket, try coldFrame(harness, pattern(65_508)), to: outside.address, segmentSize: 1000,
          send)
        try harness.expect(send, -EMSGSIZE)
        harness.engine.close(socket)
      }
    }

    @Test(arguments: completeEngines)
    func coalescedDatagramsSayTheirSize(_ kind: EngineKind) throws {
      // How many are joined is the kernel's choice.
      try withHarness(kind) { harness in
        let (receiver, address) = try bound(harness, coalesce: true)
        let (sender, _) = try bound(harness)
        let receive = harness.token()
        harness.engine.receiveDatagrams(receiver, receive)
        harness.turn()
        let bytes = pattern(1050)
        let send = harness.token()
        harness.engine.sendDatagram(
          sender, try harness.frame(bytes), to: address, segmentSize: 100, send)
        try harness.expect(send, 1050)
        try harness.turn(until: {
          harness[receive].datagrams.reduce(0) { $0 + $1.content.count } == 1050
        })
        let got = harness[receive].datagrams
        #expect(got.flatMap(\.content) == bytes)
        for datagram in got.dropLast() {
          #expect(datagram.segmentSize == 100 && datagram.content.count % 100 == 0)
        }
        let last = got[got.count - 1]
        #expect(last.segmentSize == min(100, last.content.count))
        try stopped(harness, receiver, receive)
        harness.engine.close(sender)
      }
    }

    @Test(arguments: completeEngines)
    func withoutCoalescingEachArrivesAlone(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (receiver, address) = try bound(harness)
        let (sender, _) = try bound(harness)
        let receive = harness.token()
        harness.engine.receiveDatagrams(receiver, receive)
        harness.turn()
        let send = harness.token()
        harness.engine.sendDatagram(
          sender, try harness.frame(pattern(250)), to: address, segmentSize: 100, send)
        try harness.expect(send, 250)
        try harness.turn(until: { harness[receive].datagrams.count == 3 })
        #expect(harness[receive].datagrams.map(\.content.count) == [100, 100, 50])
        #expect(harness[receive].datagrams.map(\.segmentSize) == [100, 100, 50])
        try stopped(harness, receiver, receive)
        harness.engine.close(sender)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func stoppingKeepsWhatComesLaterForTheNextReceive(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, address) = try bound(harness)
        let outside = try harness.outside.datagrams()
        let first = harness.token()
        harness.engine.receiveDatagrams(socket, first)
        harness.turn(within: 2)
        harness.engine.stopReceiving(socket)
        harness.engine.stopReceiving(socket)
        try harness.expect(first, -ECANCELED)
        for text in ["one", "two", "three"] { outside.send(Array(text.utf8), to: address) }
        for _ in 0..<3 { harness.turn(within: 2) }
        #expect(harness[first].datagrams.isEmpty)
        let next = harness.token()
        harness.engine.receiveDatagrams(socket, next)
        try harness.turn(until: { harness[next].datagrams.count == 3 })
        let texts = harness[next].datagrams.map { String(decoding: $0.content, as: UTF8.self) }
        #expect(texts == ["one", "two", "three"])
        try stopped(harness, socket, next)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aReceiveOfDatagramsIsCancelledByItsTokenAndByItsSocket(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        for byAll in [false, true] {
          let receive = harness.token()
          harness.engine.receiveDatagrams(socket, receive)
          harness.turn(within: 2)
          byAll ? harness.engine.cancelAll(socket) : harness.engine.cancel(receive)
          try harness.expect(receive, -ECANCELED)
        }
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func withoutABufferDatagramsWaitInTheSocket(_ kind: EngineKind) throws {
      var options = Harness.options
      options.largeBuffers = 4
      try withHarness(kind, options) { harness in
        let (socket, address) = try bound(harness)
        let outside = try harness.outside.datagrams()
        var held: [HeldSlice] = []
        while let slice = harness.engine.lease() { held.append(HeldSlice(slice)) }
        let receive = harness.token()
        harness.engine.receiveDatagrams(socket, receive)
        for i in 0..<10 { outside.send([UInt8(i)], to: address) }
        for _ in 0..<5 { harness.turn(within: 2) }
        #expect(harness[receive].datagrams.isEmpty && harness[receive].terminals == 0)
        #expect(harness.engine.counters.receivesStarved > 0)
        held = []
        try harness.turn(until: { harness[receive].datagrams.count == 10 })
        #expect(harness[receive].datagrams.map(\.content) == (0..<10).map { [UInt8($0)] })
        _ = held
        try stopped(harness, socket, receive)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramToAnAddressOfAnotherFamilyIsRefused(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        let send = harness.token()
        harness.engine.sendDatagram(
          socket, try harness.frame("x"), to: try .loopback(9, host: "::1"), segmentSize: 0, send)
        try harness.expect(send, -EAFNOSUPPORT)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func aDatagramToPortZeroIsEINVAL(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let (socket, _) = try bound(harness)
        let send = harness.token()
        harness.engine.sendDatagram(
          socket, try harness.frame("x"), to: try .loopback(0), segmentSize: 0, send)
        try harness.expect(send, -EINVAL)
        harness.engine.close(socket)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func anAddressInUseIsThrownUnlessThePortIsShared(_ kind: EngineKind) throws {
      try withHarness(kind) { harness in
        let first = try harness.engine.bindDatagrams(.loopback(), reusePort: true, coalesce: false)
        let address = try harness.address(of: first)
        do {
          _ = try harness.engine.bindDatagrams(address, reusePort: false, coalesce: false)
          Issue.record("bound twice")
        } catch let failure as SystemFailure {
          #expect(failure.code == EADDRINUSE)
        }
        let second = try harness.engine.bindDatagrams(address, reusePort: true, coalesce: false)
        harness.engine.close(first)
        harness.engine.close(second)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func closingWithAReceiveOfDatagramsInFlightTraps(_ kind: EngineKind) async {
      await traps(
        kind,
        before: { harness in
          harness.kept = try bound(harness).socket
          harness.engine.receiveDatagrams(harness.kept, harness.token())
        }
      ) { harness in
        harness.engine.close(harness.kept)
      }
    }

    @Test(.tags(.failure), arguments: completeEngines)
    func redeemingADatagramTwiceTraps(_ kind: EngineKind) async {
      var found: Completion?
      await traps(
        kind,
        before: { harness in
          let (socket, address) = try bound(harness)
          let outside = try harness.outside.datagrams()
          harness.watch = { if $0.hasDatagram { found = $0 } }
          harness.engine.receiveDatagrams(socket, harness.token())
          outside.send([1], to: address)
          try harness.turn(until: { found != nil })
        }
      ) { harness in
        guard let found else { return }
        _ = harness.engine.takeDatagram(found)
      }
    }
  }
}

private func bound(
  _ harness: Harness, coalesce: Bool = false
) throws -> (socket: Descriptor, address: SocketAddress) {
  let socket = try harness.engine.bindDatagrams(
    .loopback(), reusePort: false, coalesce: coalesce)
  return (socket, try harness.address(of: socket))
}

/// What has come to the outside, in order, once it is so many.
private func arrived(
  _ harness: Harness, _ outside: any OutsideDatagrams, _ count: Int
) throws -> [[UInt8]] {
  var got: [[UInt8]] = []
  try harness.turn(
    until: {
      while let datagram = outside.receive() { got.append(datagram) }
      return got.count >= count
    }, "\(count) datagrams outside")
  return got
}

private func stopped(_ harness: Harness, _ socket: Descriptor, _ receive: Token) throws {
  harness.engine.stopReceiving(socket)
  try harness.expect(receive, -ECANCELED)
  harness.engine.close(socket)
}
