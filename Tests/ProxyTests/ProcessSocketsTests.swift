// What a process uses besides its engines: sockets on their way to the workers, the call of one thread to
// another, and the way to a service manager. Real descriptors.

import Glibc
import MillraceEngine
import Testing

@testable import Proxy

@Suite("Sockets and signals of the process")
struct ProcessSocketsTests {
  private static func isOpen(_ number: Int32) -> Bool { fcntl(number, F_GETFD) != -1 }

  @Test("each worker takes its own socket once, and what nobody took is closed with the plan")
  func listenerSockets() throws {
    let address = try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
    let numbers = [try ListeningSocket.open(address), try ListeningSocket.open(address)]
    var sockets: ListenerSockets? = ListenerSockets([[], numbers])
    #expect(sockets?.take(0, worker: 0) == nil)
    #expect(sockets?.take(1, worker: 1) == numbers[1])
    #expect(sockets?.take(1, worker: 1) == nil)
    #expect(sockets?.take(1, worker: 2) == nil)
    #expect(sockets?.take(2, worker: 0) == nil)
    sockets = nil
    #expect(!Self.isOpen(numbers[0]) && Self.isOpen(numbers[1]))
    let copy = try ListeningSocket.duplicate(numbers[1])
    ListeningSocket.close(numbers[1])
    #expect(Self.isOpen(copy))
    ListeningSocket.close(copy)
  }

  @Test("a call that comes before the wait ends it, and several count as one")
  func threadSignal() throws {
    let signal = try ThreadSignal()
    signal.call()
    signal.call()
    signal.wait(nanoseconds: .max)
    // Nothing is left: only the time ends this one.
    signal.wait(nanoseconds: 1_000_000)
    let thread = try WorkerThread.start(name: "caller", cpu: nil) { signal.call() }
    signal.wait(nanoseconds: .max)
    thread.join()
  }

  @Test("a service manager gets one datagram of lines; one that is not there is no error")
  func notifier() throws {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let name = "millrace-notify-test-\(getpid())"
    withUnsafeMutableBytes(of: &address.sun_path) { $0[1...].copyBytes(from: Array(name.utf8)) }
    let length = socklen_t(3 + name.utf8.count)
    let manager = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(manager) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(manager, $0, length) }
    }
    #expect(bound == 0)
    let notifier = try #require(ServiceNotifier(socket: "@" + name))
    notifier.send("READY=1", "STATUS=all is well")
    var room = [UInt8](repeating: 0, count: 100)
    let got = recv(manager, &room, room.count, Int32(MSG_DONTWAIT))
    #expect(
      String(decoding: room.prefix(max(0, got)), as: UTF8.self) == "READY=1\nSTATUS=all is well")
    #expect(ServiceNotifier(socket: "vsock:2:1234") == nil)
    #expect(ServiceNotifier(socket: "") == nil)
    ServiceNotifier(socket: "/nonexistent/notify")?.send("READY=1")
  }
}
