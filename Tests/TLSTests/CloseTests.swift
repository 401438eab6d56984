// The end of a connection: close_notify both ways, and an end without it.

import COpenSSL
import TLS
import Testing

@Suite struct CloseTests {
  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func theClientsCloseIsAnEndAndIsAnswered(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    client.write(pattern(10))
    client.close()
    server.give(client.take())
    #expect(server.received == pattern(10))
    #expect(server.progress == .peerClosed)
    server.close()
    #expect(server.progress == .peerClosed)
    client.give(server.take())
    _ = client.read()
    #expect(client.hasReceivedClose)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func theServersCloseComesAfterItsDataAndReceivingGoesOn(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    server.send(pattern(10))
    server.close()
    #expect(server.progress == .wantsInput)
    client.write(pattern(20))
    server.give(client.take())
    #expect(server.received == pattern(20))
    client.give(server.take())
    #expect(client.read() == pattern(10))
    #expect(client.hasReceivedClose)
    client.close()
    server.give(client.take())
    #expect(server.progress == .peerClosed)
  }

  @Test func closeIsSaidOnce() throws {
    let (server, _) = connect(try makeContext())
    server.close()
    #expect(!server.take().isEmpty)
    server.close()
    #expect(server.take().isEmpty)
  }

  @Test(arguments: [1, 2, 10])
  func closeFitsAnyOutputArea(area: Int) throws {
    let (server, client) = connect(try makeContext())
    server.outputArea = area
    server.close()
    client.give(server.take())
    _ = client.read()
    #expect(client.hasReceivedClose)
  }

  @Test func closeBeforeTheHandshakeSaysNothing() throws {
    let server = ServerSide(try makeContext())
    server.close()
    #expect(server.take().isEmpty && server.progress == .wantsInput)
    #expect(server.failure == nil)
  }

  @Test func sendingAfterCloseIsRefusedAndBreaksNothing() throws {
    let (server, client) = connect(try makeContext())
    server.close()
    _ = server.take()
    let transfer = server.sendOnce(pattern(10))
    #expect(transfer.progress == .failed(.sendAfterClose))
    #expect(transfer.consumed == 0 && transfer.output == 0)
    #expect(server.failure == nil)
    client.write(pattern(5))
    server.give(client.take())
    #expect(server.received == pattern(5))
  }

  @Test func theServerMaySendAfterThePeersClose() throws {
    let (server, client) = connect(try makeContext())
    client.close()
    server.give(client.take())
    server.send(pattern(1000))
    client.give(server.take())
    #expect(client.read() == pattern(1000))
  }

  @Test func bytesAfterCloseNotifyAreDropped() throws {
    let (server, client) = connect(try makeContext())
    client.close()
    server.give(client.take() + pattern(100))
    #expect(server.progress == .peerClosed)
    server.give(pattern(100))
    #expect(server.progress == .peerClosed)
    #expect(server.received.isEmpty && server.failure == nil)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func anEndAfterCloseNotifyIsClean(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    client.close()
    server.give(client.take())
    server.end()
    #expect(server.progress == .peerClosed && server.failure == nil)
  }

  @Test(arguments: [TLS1_2_VERSION, TLS1_3_VERSION])
  func anEndWithoutCloseNotifyIsATruncation(version: Int32) throws {
    let (server, client) = connect(try makeContext(), PlainPeer.Settings(version: version))
    client.write(pattern(10))
    server.give(client.take())
    server.end()
    #expect(server.progress == .failed(.truncated))
    #expect(server.failure?.stage == .read)
    #expect(server.received == pattern(10))
  }

  @Test func anEndInsideARecordIsATruncation() throws {
    let (server, client) = connect(try makeContext())
    client.close()
    let record = client.take()
    server.give(Array(record.dropLast()))
    #expect(server.progress == .wantsInput)
    server.end()
    #expect(server.progress == .failed(.truncated))
  }

  @Test func anEndDuringTheHandshakeIsATruncationThere() throws {
    let server = ServerSide(try makeContext())
    server.end()
    #expect(server.failureKind == .truncated)
    #expect(server.failure?.stage == .handshake)
    server.give([0x16, 3, 1])
    #expect(server.progress == .failed(.truncated))
  }
}
