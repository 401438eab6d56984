import Glibc
import Lab
import MillraceEngine
import Testing

/// A listening socket of 127.0.0.1 that lets others share its port, as an origin's do.
private func sharedListener() throws -> (descriptor: Int32, port: UInt16) {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  try #require(descriptor >= 0)
  var one: Int32 = 1
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &one, socklen_t(MemoryLayout<Int32>.size))
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let bound = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
      bind(descriptor, pointer, length) == 0 && listen(descriptor, 1) == 0
        && getsockname(descriptor, pointer, &length) == 0
    }
  }
  try #require(bound)
  return (descriptor, UInt16(bigEndian: address.sin_port))
}

@Suite struct OriginAddressTests {
  @Test func anAddressThatWouldBeSharedIsRefused() throws {
    let (descriptor, port) = try sharedListener()
    defer { close(descriptor) }
    var plan = OriginPlan()
    // epoll: io_uring is tried in a forked child, which a process with threads must not have.
    plan.engine = .epoll
    let address = try SocketAddress.resolve(host: "127.0.0.1", port: port, passive: true)
    plan.listeners = [OriginListener(address: try #require(address.first), usesTLS: false)]
    let origin = try Origin(plan)
    let failure = #expect(throws: OriginFailure.self) { _ = try origin.start() }
    let text = failure.map { "\($0)" } ?? ""
    #expect(text.contains("127.0.0.1:\(port) is in use"), "\(text)")
  }
}
