// A server's session with its caller: it cuts input to any fragment size, offers areas of any size,
// and checks on every call that the session kept to its contract.

import Glibc
import TLS
import Testing

final class ServerSide {
  var session: TLSSession
  var plaintextArea = 65_536
  var outputArea = 65_536
  /// The largest piece in which input is given.
  var fragment = Int.max

  private(set) var received: [UInt8] = []
  private(set) var progress = TLSSession.Progress.wantsInput
  private(set) var completions = 0
  private var outgoing: [UInt8] = []

  init(_ context: TLSContext) { session = TLSSession(context: context)! }
  init(client context: TLSClientContext, host: String, tickets: ClientTickets? = nil) {
    session = TLSSession(client: context, host: host)!
    if let tickets { session.offer(from: tickets) }
  }

  // The session's properties, since `#expect` cannot look into a value that is not copyable.
  var failure: TLSFailure? { session.failure }
  var failureKind: TLSFailure.Kind? { session.failure?.kind }
  var isHandshakeComplete: Bool { session.isHandshakeComplete }
  var hasPendingOutput: Bool { session.hasPendingOutput }
  var pendingPlaintext: Bool { session.pendingPlaintext }
  var isResumed: Bool { session.isResumed }
  var recordMaximum: Int { session.recordMaximum }
  var sealsItself: Bool { session.sealsItself }
  var version: TLSVersion { session.version }
  var cipherName: String { session.withCipherName { String(decoding: $0, as: UTF8.self) } }
  var serverName: [UInt8] { session.withServerName { Array($0) } }
  var alpn: [UInt8] { session.withALPN { Array($0) } }

  func take() -> [UInt8] {
    defer { outgoing = [] }
    return outgoing
  }

  func takeTickets() -> ClientTickets? { session.takeTickets() }

  func takeReceived() -> [UInt8] {
    defer { received = [] }
    return received
  }

  /// Gives all of `bytes`, unless the session ends.
  func give(_ bytes: [UInt8]) {
    var offset = 0
    repeat {
      let end = min(bytes.count, fragment >= bytes.count ? bytes.count : offset + fragment)
      offset += receive(Array(bytes[offset..<end]))
      if case .failed = progress { return }
    } while offset < bytes.count
  }

  /// Receives until the session wants input; returns the bytes consumed.
  private func receive(_ bytes: [UInt8]) -> Int {
    var offset = 0
    while true {
      var plaintext = [UInt8](repeating: 0, count: plaintextArea)
      var output = [UInt8](repeating: 0, count: outputArea)
      let transfer = bytes[offset...].withUnsafeBytes { input in
        plaintext.withUnsafeMutableBytes { plaintext in
          output.withUnsafeMutableBytes { output in
            session.receive(input, plaintext: plaintext, output: output)
          }
        }
      }
      offset += transfer.consumed
      received += plaintext[..<transfer.plaintext]
      outgoing += output[..<transfer.output]
      progress = transfer.progress
      if transfer.handshakeCompleted { completions += 1 }
      switch transfer.progress {
      case .wantsInput, .peerClosed:
        #expect(offset == bytes.count, "input is left over")
        #expect(!hasPendingOutput)
        return offset
      case .plaintextFull:
        #expect(transfer.plaintext == plaintextArea, "the plaintext area is not full")
      case .outputFull:
        #expect(transfer.output == outputArea, "the output area is not full")
      case .failed:
        return offset
      }
    }
  }

  /// Sends all of `bytes` and flushes.
  func send(_ bytes: [UInt8]) {
    var offset = 0
    while true {
      let transfer = sendOnce(Array(bytes[offset...]))
      offset += transfer.consumed
      progress = transfer.progress
      guard transfer.progress == .outputFull else { return }
      #expect(transfer.consumed > 0 || transfer.output > 0, "a call did nothing")
    }
  }

  func sendOnce(_ bytes: [UInt8]) -> TLSSession.Transfer {
    var output = [UInt8](repeating: 0, count: outputArea)
    let transfer = bytes.withUnsafeBytes { plaintext in
      output.withUnsafeMutableBytes { session.send(plaintext, output: $0) }
    }
    outgoing += output[..<transfer.output]
    return transfer
  }

  /// Seals one record of the pieces' bytes behind `skipping`.
  func sendRecord(_ pieces: [[UInt8]], skipping: Int, count: Int) -> TLSSession.Transfer {
    let copies = pieces.map { piece in
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: piece.count, alignment: 1)
      copy.copyBytes(from: piece)
      return copy
    }
    defer { for copy in copies { copy.deallocate() } }
    var output = [UInt8](repeating: 0, count: outputArea)
    let vectors = copies.map { iovec(iov_base: $0.baseAddress, iov_len: $0.count) }
    let transfer = vectors.withUnsafeBufferPointer { vectors in
      output.withUnsafeMutableBytes {
        session.sendRecord(vectors, skipping: skipping, count: count, output: $0)
      }
    }
    outgoing += output[..<transfer.output]
    return transfer
  }

  func close() {
    repeat {
      var output = [UInt8](repeating: 0, count: outputArea)
      let transfer = output.withUnsafeMutableBytes { session.close(output: $0) }
      outgoing += output[..<transfer.output]
      progress = transfer.progress
    } while progress == .outputFull
  }

  func requestKeyUpdate() {
    var output = [UInt8](repeating: 0, count: 100)
    let count = output.withUnsafeMutableBytes { session.requestKeyUpdate(output: $0) }
    #expect(count > 0)
    outgoing += output[..<count]
  }

  func end() { progress = session.receiveEnd() }
}

/// Moves bytes between the two until neither has any to give.
func pump(_ server: ServerSide, _ client: PlainPeer) {
  for _ in 0..<20 {
    client.step()
    let request = client.take()
    if !request.isEmpty { server.give(request) }
    let answer = server.take()
    client.give(answer)
    if request.isEmpty, answer.isEmpty { return }
  }
}

/// A handshake from start to end, tickets included; both sides.
func connect(
  _ context: TLSContext, _ settings: PlainPeer.Settings = PlainPeer.Settings(),
  fragment: Int = .max, plaintextArea: Int = 65_536, outputArea: Int = 65_536
) -> (server: ServerSide, client: PlainPeer) {
  let server = ServerSide(context)
  server.fragment = fragment
  server.plaintextArea = plaintextArea
  server.outputArea = outputArea
  let client = PlainPeer(settings)
  pump(server, client)
  // Reading nothing makes the client take in its tickets.
  if client.isConnected { _ = client.read() }
  return (server, client)
}

/// Ticket keys that differ from call to call.
func makeTickets(now: Int64 = 0, rotationSeconds: Int64 = 100) -> TicketKeys {
  TicketKeys(
    randomBytes: { area in
      var generator = SystemRandomNumberGenerator()
      for index in area.indices { area[index] = UInt8.random(in: 0...255, using: &generator) }
    }, now: now, rotationSeconds: rotationSeconds)
}

func makeContext(
  _ certificates: [CertificateSource] = [TestCertificates.shared.main],
  minimumVersion: TLSVersion = .tls12, alpn: [String] = ["http/1.1"], tickets: TicketKeys? = nil,
  sealing: RecordSealing = .whenLong
) throws -> TLSContext {
  try TLSContext(
    certificates: certificates, minimumVersion: minimumVersion, alpn: alpn,
    tickets: tickets ?? makeTickets(), sealing: sealing)
}

/// Bytes that differ from their neighbours, so that a shift is seen.
func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ $0 >> 8 &+ seed) &* 17) }
}
