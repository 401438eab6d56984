// Nothing stays behind when sessions end, however they end. Each test has a process of its own, so
// that what other tests hold is not counted.

import COpenSSL
import Glibc
import Synchronization
import TLS
import Testing

@Suite struct LeakTests {
  @Test func twoThousandSessionsLeaveNothingBehind() async {
    await #expect(processExitsWith: .success) {
      countOpenSSLBlocks()
      let context = try makeContext(sealing: .always)
      func round(_ number: Int) {
        let version = number % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION
        switch number % 5 {
        case 0:
          let (server, client) = connect(context, PlainPeer.Settings(version: version))
          for size in [1000, 70_000, 10_000] {
            server.send(pattern(size))
            client.give(server.take())
            precondition(client.read().count == size)
          }
          precondition(
            server.sealsItself == (version == TLS1_3_VERSION && RecordSealing.isPossible))
        case 1:
          ServerSide(context).give(Array("GET / HTTP/1.1\r\n".utf8))
        case 2:
          // Dropped in the middle, with output pending.
          let server = ServerSide(context)
          server.outputArea = 10
          let client = PlainPeer(PlainPeer.Settings(version: version))
          client.step()
          server.give(Array(client.take().dropLast(number % 3)))
        case 3:
          _ = connect(context, PlainPeer.Settings(version: version, alpn: ["h2"]))
        default:
          let (server, _) = connect(context, PlainPeer.Settings(version: version))
          server.outputArea = 10
          _ = server.sendOnce(pattern(500))
        }
      }
      for number in 0..<1000 { round(number) }
      let blocks = openSSLBlocks.load(ordering: .relaxed)
      let before = heapBytesInUse()
      for number in 0..<2000 { round(number) }
      precondition(openSSLBlocks.load(ordering: .relaxed) == blocks, "OpenSSL kept blocks")
      // Our own share of a session is over 100 bytes. malloc's caches count as in use and keep
      // growing for a while, by 60 bytes per session in the first two thousand; hence the bound and
      // the warm-up.
      let after = heapBytesInUse()
      precondition(after < before + 2000 * 64, "grew from \(before) to \(after)")
    }
  }

  @Test func contextsAndChecksLeaveNothingBehind() async {
    await #expect(processExitsWith: .success) {
      countOpenSSLBlocks()
      let certificates = TestCertificates.shared
      func round() {
        _ = try? makeContext([certificates.main, certificates.shop, certificates.shopRSA])
        _ = try? makeContext([certificates.main, certificates.weak])
        _ = try? makeContext(alpn: [""])
        _ = TLSContext.check(
          CertificateSource(
            certificatePath: certificates.main.certificatePath, keyPath: certificates.shop.keyPath))
        _ = TLSContext.check(
          CertificateSource(
            certificatePath: certificates.main.keyPath,
            keyPath: certificates.main.certificatePath))
        _ = try? TLSClientContext(trust: .file(certificates.main.certificatePath))
        _ = try? TLSClientContext(trust: .file("/nowhere"))
        _ = try? TLSClientContext(trust: .anyone, certificate: certificates.main)
        _ = try? TLSClientContext(trust: .anyone, certificate: certificates.weak)
        _ = TLSClientContext.checkAuthorities(certificates.main.certificatePath)
        _ = TLSClientContext.checkAuthorities(certificates.main.keyPath)
      }
      for _ in 0..<20 { round() }
      let blocks = openSSLBlocks.load(ordering: .relaxed)
      for _ in 0..<200 { round() }
      precondition(openSSLBlocks.load(ordering: .relaxed) == blocks, "OpenSSL kept blocks")
    }
  }

  @Test func ticketsLeaveNothingBehind() async {
    await #expect(processExitsWith: .success) {
      countOpenSSLBlocks()
      let server = try makeContext()
      let context = try TLSClientContext(
        trust: .file(TestCertificates.shared.main.certificatePath), keepsTickets: true)
      func round() {
        let kept = ClientTickets()
        for number in 0..<12 {
          let client = ServerSide(client: context, host: "default.example", tickets: kept)
          let other = ServerSide(server)
          client.give([])
          for _ in 0..<4 {
            other.give(client.take())
            client.give(other.take())
          }
          precondition(client.isHandshakeComplete && client.isResumed == (number % 4 > 0))
          // At times all are forgotten.
          if let given = client.takeTickets() { kept.add(given) }
          if number % 4 == 3 { kept.removeAll() }
        }
      }
      for _ in 0..<5 { round() }
      let blocks = openSSLBlocks.load(ordering: .relaxed)
      for _ in 0..<20 { round() }
      precondition(openSSLBlocks.load(ordering: .relaxed) == blocks, "OpenSSL kept blocks")
    }
  }

  @Test func aSessionOutlivesTheLastReferenceToItsContext() throws {
    var context: TLSContext? = try makeContext()
    let server = ServerSide(context!)
    context = nil
    let client = PlainPeer(PlainPeer.Settings(serverName: "shop.example", alpn: ["http/1.1"]))
    pump(server, client)
    #expect(client.isConnected)
  }
}

/// Blocks that OpenSSL holds, once `countOpenSSLBlocks` has been called.
private let openSSLBlocks = Atomic<Int>(0)

/// Puts counting allocators under OpenSSL; possible only before its first allocation in the
/// process.
private func countOpenSSLBlocks() {
  let isCounting = CRYPTO_set_mem_functions(
    { count, _, _ in
      openSSLBlocks.add(1, ordering: .relaxed)
      return malloc(count)
    },
    { block, count, _, _ in
      if block == nil { openSSLBlocks.add(1, ordering: .relaxed) }
      if count == 0 { openSSLBlocks.subtract(1, ordering: .relaxed) }
      return realloc(block, count)
    },
    { block, _, _ in
      if block != nil { openSSLBlocks.subtract(1, ordering: .relaxed) }
      free(block)
    })
  precondition(isCounting == 1)
}

/// Bytes of the C heap that are in use, by malloc_info(3): what the arenas have, less what is free
/// in them. Swift's Glibc module does not carry malloc.h, hence the lookup by name.
private func heapBytesInUse() -> Int {
  typealias Info = @convention(c) (Int32, UnsafeMutablePointer<FILE>) -> Int32
  var text: UnsafeMutablePointer<CChar>?
  var count = 0
  let stream = open_memstream(&text, &count)!
  let info = unsafeBitCast(dlsym(nil, "malloc_info")!, to: Info.self)
  precondition(info(0, stream) == 0)
  fclose(stream)
  defer { free(text) }
  let lines = String(cString: text!).split(separator: "\n")
  // The totals over all arenas come last.
  func total(_ start: String) -> Int {
    let line = lines.last { $0.hasPrefix(start) }!
    let tail = line.text(after: "size=\"")
    return Int(tail.prefix { $0 != "\"" })!
  }
  return total("<system type=\"current\"") - total("<total type=\"rest\"")
    - total("<total type=\"fast\"")
}

extension Substring {
  fileprivate func text(after mark: String) -> Substring {
    var rest = self
    while !rest.hasPrefix(mark) { rest = rest.dropFirst() }
    return rest.dropFirst(mark.count)
  }
}
