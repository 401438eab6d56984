// TLS towards a server, in virtual time: the handshake, what is verified, and how the stream may end. The
// server is a session of the same library on a simulated peer.

import Configuration
import Glibc
import Metrics
import MillraceEngine
import TLS
import Testing

@testable import Proxy

/// A certificate in files of its own, which are removed with it.
private final class CertificateFiles {
  let source: CertificateSource
  private let folder: String

  /// - Parameters:
  ///   - name: as OpenSSL writes it, such as `DNS:localhost`.
  ///   - days, start: of its validity, as `SelfSigned` takes them.
  init(_ name: String, days: Int = 7, start: Int = -3600) throws {
    var template = Array("/tmp/millrace-upstream-XXXXXX".utf8CString)
    folder = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    source = CertificateSource(
      certificatePath: folder + "/certificate.pem", keyPath: folder + "/key.pem")
    let pair = try SelfSigned(names: [name], days: days, start: start)
    for (path, text) in [
      (source.certificatePath, pair.certificate), (source.keyPath, pair.key),
    ] {
      let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
      defer { close(descriptor) }
      _ = Array(text.utf8).withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
  }

  deinit {
    unlink(source.certificatePath)
    unlink(source.keyPath)
    rmdir(folder)
  }
}

/// A server behind TLS on one connection.
private final class TLSServer {
  private var session: TLSSession
  private let peer: SimulatedPeer
  private var outgoing: [UInt8] = []
  private var ended = false
  private(set) var text = ""
  private(set) var serverName = ""
  private(set) var protocolName = ""
  private(set) var saidGoodbye = false
  private(set) var isResumed = false
  var answer: (TLSServer) -> Void = { _ in }

  init(_ peer: SimulatedPeer, _ context: TLSContext) {
    session = TLSSession(context: context)!
    self.peer = peer
    peer.onEvent = { [self] _, event in
      if event == .readable { read() }
      flush()
    }
  }

  private func read() {
    var input = peer.receive()
    var plaintext = [UInt8](repeating: 0, count: 16_384)
    var output = [UInt8](repeating: 0, count: 32_768)
    while true {
      let step = input.withUnsafeBytes { bytes in
        plaintext.withUnsafeMutableBytes { plain in
          output.withUnsafeMutableBytes { out in
            session.receive(bytes, plaintext: plain, output: out)
          }
        }
      }
      input.removeFirst(step.consumed)
      outgoing += output[..<step.output]
      text += String(decoding: plaintext[..<step.plaintext], as: UTF8.self)
      if step.handshakeCompleted {
        serverName = session.withServerName { String(decoding: $0, as: UTF8.self) }
        protocolName = session.withALPN { String(decoding: $0, as: UTF8.self) }
        isResumed = session.isResumed
      }
      if step.plaintext > 0 { answer(self) }
      if step.progress == .peerClosed { saidGoodbye = true }
      guard step.progress == .plaintextFull || step.progress == .outputFull else { return flush() }
    }
  }

  func send(_ text: String) {
    let bytes = Array(text.utf8)
    var at = 0
    var output = [UInt8](repeating: 0, count: 32_768)
    while at < bytes.count {
      let step = bytes[at...].withUnsafeBytes { plain in
        output.withUnsafeMutableBytes { session.send(plain, output: $0) }
      }
      at += step.consumed
      outgoing += output[..<step.output]
    }
    flush()
  }

  /// Ends the stream: with close_notify, or as an attacker would who cuts it.
  func end(saysGoodbye: Bool) {
    if saysGoodbye {
      var output = [UInt8](repeating: 0, count: 256)
      let step = output.withUnsafeMutableBytes { session.close(output: $0) }
      outgoing += output[..<step.output]
    }
    ended = true
    flush()
  }

  private func flush() {
    if !outgoing.isEmpty { outgoing.removeFirst(peer.send(outgoing)) }
    if ended && outgoing.isEmpty { peer.finishSending() }
  }
}

/// A world whose server has TLS.
private final class TLSWorld {
  let flow: FlowWorld
  private(set) var servers: [TLSServer] = []
  /// What the first connections have instead of the world's certificate.
  var firstContexts: [TLSContext] = []

  /// - Parameters:
  ///   - host: that the proxy connects to.
  ///   - name, days, start: of the certificate.
  ///   - isTrusted: the proxy knows who made it.
  init(
    host: String = "localhost", name: String = "DNS:localhost", days: Int = 7, start: Int = -3600,
    isTrusted: Bool = true
  ) throws {
    flow = try FlowWorld()
    let own = try CertificateFiles(name, days: days, start: start)
    let other = try CertificateFiles("DNS:elsewhere")
    let context = try Self.context(own)
    flow.upstreamTLS = try TLSClientContext(
      trust: .file((isTrusted ? own : other).source.certificatePath), keepsTickets: true)
    flow.configuration.upstreams[0].servers = [
      ServerConfiguration(address: .ip(host: host, port: 3000))
    ]
    flow.onServerPeer = { [unowned self] peer in
      let server = TLSServer(
        peer, servers.count < firstContexts.count ? firstContexts[servers.count] : context)
      server.answer = answer
      servers.append(server)
    }
  }

  static func context(_ files: CertificateFiles) throws -> TLSContext {
    try TLSContext(
      certificates: [files.source],
      tickets: TicketKeys(
        randomBytes: { $0.copyBytes(from: [UInt8](repeating: 7, count: $0.count)) }, now: 0))
  }

  /// What was counted of the servers.
  func figure(_ name: String, _ labels: [String: String] = [:]) throws -> UInt64 {
    let reading = try #require(flow.remote.metrics).board.reader().read()
    return try #require(reading.sum(name, labels))
  }

  var answer: (TLSServer) -> Void = { server in
    if server.text.hasSuffix("\r\n\r\n") {
      server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }
  }

  /// Sends one request and waits for the end of virtual time.
  func run(_ request: String, seconds: Int64 = 20) -> (FlowClient, WorkerAccount?) {
    var client: FlowClient?
    let account = flow.run { [self] in
      client = flow.connect()
      client?.send(request)
      flow.after(seconds * 1_000_000_000) { [self] in flow.remote.drain() }
    }
    return (client!, account)
  }
}

@Suite("TLS to servers")
struct UpstreamTLSTests {
  @Test("a request goes to a server that proves its name, and the connection is kept")
  func kept() throws {
    let world = try TLSWorld()
    var second: FlowClient?
    world.flow.after(1_000_000_000) {
      second = world.flow.connect()
      second?.send(FlowWorld.get("/s/2"))
    }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 OK\r\n") && client.text.hasSuffix("\r\n\r\nok"))
    #expect(second?.text.hasSuffix("\r\n\r\nok") == true)
    #expect(world.servers.count == 1)
    #expect(world.servers[0].text.hasPrefix("GET /s/1 HTTP/1.1\r\n"))
    #expect(world.servers[0].serverName == "localhost")
    #expect(world.servers[0].protocolName == "http/1.1")
    #expect(world.servers[0].saidGoodbye, "the proxy closed without close_notify")
    #expect(account?.counters.upstreamReuses == 1)
    #expect(account?.counters.upstreamHandshakes == 1)
    #expect(account?.counters.upstreamHandshakeFailures == 0)
    #expect(try world.figure("server_handshakes", ["version": "TLSv1.3"]) == 1)
    #expect(account?.engine.framesInUse == 0)
    #expect(account?.engine.leasedBuffers == 0)
  }

  @Test(
    "a server by its address is verified by that, and no name is asked for",
    arguments: [("IP:127.0.0.1", true), ("IP:127.0.0.2", false), ("DNS:127.0.0.1", false)])
  func addresses(_ name: String, _ isServed: Bool) throws {
    let world = try TLSWorld(host: "127.0.0.1", name: name)
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 ") == isServed, "\(client.text)")
    #expect(client.text.contains("(tls_upstream_name_mismatch)") == !isServed)
    if isServed { #expect(world.servers.first?.serverName == "") }
  }

  @Test("a name of the upstream takes the place of the server's, for SNI and for the certificate")
  func serverName() throws {
    let world = try TLSWorld(host: "127.0.0.1", name: "DNS:api.internal")
    world.flow.configuration.upstreams[0].tls = UpstreamTLS(serverName: "api.internal")
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 "), "\(client.text)")
    #expect(world.servers.first?.serverName == "api.internal")
  }

  /// A server that is not believed, and what it is called.
  struct Unbelieved: Sendable {
    var reason: String
    var name = "DNS:localhost"
    var days = 7
    var start = -3600
    var isTrusted = true
  }

  @Test(
    "a server is not asked whose certificate does not verify, and the reason is told and counted",
    arguments: [
      Unbelieved(reason: "name_mismatch", name: "DNS:elsewhere"),
      Unbelieved(reason: "untrusted", isTrusted: false),
      Unbelieved(reason: "expired", days: -1, start: -172_800),
      Unbelieved(reason: "not_yet_valid", start: 86_400),
    ])
  func unbelieved(_ server: Unbelieved) throws {
    let world = try TLSWorld(
      name: server.name, days: server.days, start: server.start, isTrusted: server.isTrusted)
    world.flow.configuration.upstreams[0].retries.attempts = 0
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 502 "), "\(client.text)")
    #expect(client.text.contains("(tls_upstream_\(server.reason))"), "\(client.text)")
    #expect(world.servers.allSatisfy { $0.text.isEmpty })
    #expect(account?.counters.upstreamHandshakes == 0)
    #expect(account?.counters.upstreamHandshakeFailures == 1)
    #expect(try world.figure("server_handshake_failures") == 1)
    #expect(try world.figure("server_handshake_failures", ["reason": server.reason]) == 1)
    #expect(try world.figure("server_connect_failures") == 1)
    #expect(account?.upstreamConnections == 0)
    #expect(account?.engine.framesInUse == 0)
  }

  @Test("a server that is not believed counts as not reached: another one gets the request")
  func another() throws {
    let world = try TLSWorld()
    world.firstContexts = [try TLSWorld.context(try CertificateFiles("DNS:elsewhere"))]
    world.flow.morePorts = [3001]
    world.flow.configuration.upstreams[0].servers.append(
      ServerConfiguration(address: .ip(host: "localhost", port: 3001)))
    world.answer = { server in
      if server.text.hasSuffix("\r\n\r\nx") {
        server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      }
    }
    let (client, account) = world.run(FlowWorld.post("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 200 "), "\(client.text)")
    #expect(world.servers.count == 2 && world.servers[0].text.isEmpty)
    #expect(account?.counters.retries == 1)
    #expect(account?.counters.upstreamHandshakeFailures == 1)
  }

  @Test("a handshake that is not answered ends by the connect timeout")
  func silent() throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in peer.onEvent = { _, _ in } }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 504 "), "\(client.text)")
    #expect(client.text.contains("(tls_upstream_handshake_timeout)"))
    #expect(try world.figure("server_handshake_failures", ["reason": "handshake_timeout"]) >= 1)
    #expect((account?.counters.timeouts ?? 0) >= 1)
  }

  @Test("a server that speaks no TLS is not asked")
  func plain() throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in
      peer.onEvent = { peer, event in
        if event == .readable, !peer.receive().isEmpty {
          _ = peer.send(Array("HTTP/1.1 400 Bad Request\r\n\r\n".utf8))
        }
      }
    }
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.contains("(tls_upstream_failed)"), "\(client.text)")
  }

  @Test(
    "a server that closes or breaks off in the handshake is not asked", arguments: [true, false])
  func closes(_ isOrderly: Bool) throws {
    let world = try TLSWorld()
    world.flow.onServerPeer = { peer in
      peer.onEvent = { peer, event in
        guard event == .readable, !peer.receive().isEmpty else { return }
        if isOrderly { peer.finishSending() } else { peer.reset() }
      }
    }
    let (client, _) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.hasPrefix("HTTP/1.1 502 "), "\(client.text)")
    #expect(client.text.contains("(tls_upstream_failed)"), "\(client.text)")
    #expect(try world.figure("server_handshake_failures", ["reason": "failed"]) >= 1)
  }

  @Test(
    "content up to the connection's end is whole with close_notify, and cut without",
    arguments: [true, false])
  func untilClose(_ saysGoodbye: Bool) throws {
    let world = try TLSWorld()
    world.answer = { server in
      server.send("HTTP/1.1 200 OK\r\n\r\nall of it")
      server.end(saysGoodbye: saysGoodbye)
    }
    let (client, account) = world.run(FlowWorld.get("/s/1"))
    #expect(client.text.contains("all of it") || !saysGoodbye)
    // Towards HTTP/1.1 it leaves in chunks, and the last one is missing where the server was cut off.
    #expect(client.text.hasSuffix("\r\n0\r\n\r\n") == saysGoodbye, "\(client.text)")
    #expect(account?.counters.upstreamFailures == (saysGoodbye ? 0 : 1))
  }

  @Test(
    "the next connection resumes, however the one before has ended, and each ticket is used once",
    arguments: [true, false])
  func resumed(_ saysGoodbye: Bool) throws {
    let world = try TLSWorld()
    world.answer = { server in
      server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
      server.end(saysGoodbye: saysGoodbye)
    }
    var others: [FlowClient] = []
    for second in 1...3 {
      world.flow.after(Int64(second) * 1_000_000_000) {
        let client = world.flow.connect()
        others.append(client)
        client.send(FlowWorld.get("/s/\(second)"))
        guard second == 3 else { return }
        // A server gives one ticket for each connection: of two that begin together one resumes.
        let another = world.flow.connect()
        others.append(another)
        another.send(FlowWorld.get("/s/4"))
      }
    }
    let (client, account) = world.run(FlowWorld.get("/s/0"))
    for client in [client] + others {
      #expect(client.text.hasPrefix("HTTP/1.1 200 "), "\(client.text)")
    }
    #expect(world.servers.map(\.isResumed).prefix(3) == [false, true, true])
    #expect(world.servers.dropFirst(3).count { $0.isResumed } == 1)
    #expect(account?.counters.upstreamHandshakes == 5)
    #expect(account?.counters.upstreamHandshakesResumed == 3)
    #expect(try world.figure("server_handshakes") == 5)
    #expect(try world.figure("server_handshakes_resumed") == 3)
  }

  @Test("nothing is resumed that was verified in another way")
  func notResumed() throws {
    let world = try TLSWorld()
    world.answer = { server in
      server.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
      server.end(saysGoodbye: true)
    }
    var second: FlowClient?
    let other = try TLSClientContext(trust: .anyone, keepsTickets: true)
    world.flow.after(1_000_000_000) {
      world.flow.upstreamTLS = other
      world.flow.remote.replacePlan(world.flow.parts)
    }
    world.flow.after(2_000_000_000) {
      second = world.flow.connect()
      second?.send(FlowWorld.get("/s/2"))
    }
    let (_, account) = world.run(FlowWorld.get("/s/1"))
    #expect(second?.text.hasPrefix("HTTP/1.1 200 ") == true)
    #expect(account?.counters.plansInstalled == 1)
    #expect(world.servers.map(\.isResumed) == [false, false])
    #expect(account?.counters.upstreamHandshakesResumed == 0)
  }

  @Test("large content goes both ways")
  func large() throws {
    let size = 1_000_000
    let world = try TLSWorld()
    world.answer = { server in
      guard server.text.utf8.count >= size else { return }
      server.send(
        "HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n" + String(repeating: "y", count: size))
    }
    let request = "POST /s/1 HTTP/1.1\r\nHost: a\r\nContent-Length: \(size)\r\n\r\n"
    let (client, account) = world.run(request + String(repeating: "x", count: size))
    #expect(client.count("y") == size)
    #expect(world.servers[0].text.utf8.filter { $0 == UInt8(ascii: "x") }.count >= size)
    #expect(account?.counters.responses == 1)
    #expect(account?.engine.framesInUse == 0)
    #expect(account?.engine.coldBytes == 0)
  }
}
