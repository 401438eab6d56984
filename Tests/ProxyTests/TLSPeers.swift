// Whoever speaks TLS with the worker of a `FlowWorld`: servers, and clients. Each is a session of the same
// library on a simulated peer.

import Configuration
import Glibc
import Metrics
import MillraceEngine
import TLS
import Testing

@testable import Proxy

/// A certificate in files of its own, which are removed with it.
final class CertificateFiles {
  let source: CertificateSource
  private let folder: String

  /// - Parameters:
  ///   - name: a host name, or what OpenSSL writes, such as `IP:127.0.0.1`.
  ///   - days, start: of its validity, as `SelfSigned` takes them.
  init(_ name: String, days: Int = 7, start: Int = -3600) throws {
    var template = Array("/tmp/millrace-upstream-XXXXXX".utf8CString)
    folder = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    source = CertificateSource(
      certificatePath: folder + "/certificate.pem", keyPath: folder + "/key.pem")
    let pair = try SelfSigned(
      names: [name.contains(":") ? name : "DNS:\(name)"], days: days, start: start)
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

  /// What a server with this certificate shares among its sessions.
  func makeContext() throws -> TLSContext {
    try TLSContext(
      certificates: [source],
      tickets: TicketKeys(
        randomBytes: { $0.copyBytes(from: [UInt8](repeating: 7, count: $0.count)) }, now: 0))
  }
}

/// One end of a TLS conversation, of either side.
final class TLSPeer {
  private var session: TLSSession
  let peer: SimulatedPeer
  private var outgoing: [UInt8] = []
  /// Plaintext that waits for the handshake.
  private var early = ""
  private var ended = false
  private(set) var isEstablished = false
  private(set) var text = ""
  private(set) var serverName = ""
  private(set) var protocolName = ""
  private(set) var isResumed = false
  private(set) var saidGoodbye = false
  /// The other side has ended the connection, in order or not.
  private(set) var isOver = false
  /// False: what comes fills the network.
  private(set) var reads = true
  /// What it does when plaintext has come.
  var answer: (TLSPeer) -> Void = { _ in }

  private init(_ peer: SimulatedPeer, _ session: consuming TLSSession) {
    self.session = session
    self.peer = peer
    peer.onEvent = { [self] _, event in
      switch event {
      case .connected, .readable: read()
      case .writable: break
      case .ended, .reset, .refused: isOver = true
      }
      flush()
    }
  }

  /// A server on a connection that was made to it.
  convenience init(_ peer: SimulatedPeer, _ context: TLSContext) {
    self.init(peer, TLSSession(context: context)!)
  }

  /// A client of the worker, which believes any server.
  convenience init(of flow: FlowWorld) throws {
    let context = try TLSClientContext(trust: .anyone)
    self.init(flow.dial(), TLSSession(client: context, host: "localhost")!)
  }

  // MARK: In

  func stopReading() { reads = false }

  func resumeReading() {
    reads = true
    read()
  }

  private func read() {
    guard reads else { return }
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
      if step.handshakeCompleted { established() }
      if step.plaintext > 0 { answer(self) }
      if step.progress == .peerClosed { saidGoodbye = true }
      guard step.progress == .plaintextFull || step.progress == .outputFull else { return flush() }
    }
  }

  private func established() {
    isEstablished = true
    serverName = session.withServerName { String(decoding: $0, as: UTF8.self) }
    protocolName = session.withALPN { String(decoding: $0, as: UTF8.self) }
    isResumed = session.isResumed
    let waiting = early
    early = ""
    send(waiting)
  }

  // MARK: Out

  func send(_ text: String) {
    guard isEstablished else { return early += text }
    let bytes = Array(text.utf8)
    var at = 0
    var output = [UInt8](repeating: 0, count: 32_768)
    while at < bytes.count {
      let step = bytes[at...].withUnsafeBytes { plain in
        output.withUnsafeMutableBytes { session.send(plain, output: $0) }
      }
      if case .failed = step.progress { return }
      at += step.consumed
      outgoing += output[..<step.output]
    }
    flush()
  }

  /// Says KeyUpdate, and wants one in return: the other side owes it before its next record.
  func updateKeys() {
    var output = [UInt8](repeating: 0, count: 512)
    let count = output.withUnsafeMutableBytes { session.requestKeyUpdate(output: $0) }
    outgoing += output[..<count]
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
final class TLSWorld {
  let flow: FlowWorld
  private(set) var servers: [TLSPeer] = []
  /// What the first connections have instead of the world's certificate.
  var firstContexts: [TLSContext] = []

  /// - Parameters:
  ///   - host: that the proxy connects to.
  ///   - name, days, start: of the certificate.
  ///   - isTrusted: the proxy knows who made it.
  init(
    host: String = "localhost", name: String = "localhost", days: Int = 7, start: Int = -3600,
    isTrusted: Bool = true, seed: UInt64 = 1, _ conditions: SimulatedConditions = .calm
  ) throws {
    flow = try FlowWorld(seed: seed, conditions)
    let own = try CertificateFiles(name, days: days, start: start)
    let other = try CertificateFiles("elsewhere")
    let context = try own.makeContext()
    flow.upstreamTLS = try TLSClientContext(
      trust: .file((isTrusted ? own : other).source.certificatePath), keepsTickets: true)
    flow.configuration.upstreams[0].servers = [
      ServerConfiguration(address: .ip(host: host, port: 3000))
    ]
    flow.onServerPeer = { [unowned self] peer in
      let server = TLSPeer(
        peer, servers.count < firstContexts.count ? firstContexts[servers.count] : context)
      server.answer = answer
      servers.append(server)
    }
  }

  /// What was counted of the servers.
  func figure(_ name: String, _ labels: [String: String] = [:]) throws -> UInt64 {
    let reading = try #require(flow.remote.metrics).board.reader().read()
    return try #require(reading.sum(name, labels))
  }

  var answer: (TLSPeer) -> Void = { server in
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
