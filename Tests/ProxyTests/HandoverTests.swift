// What a new process does with what it is given: real sockets, over a real connection.

import Configuration
import Glibc
import MillraceEngine
import Synchronization
import TLS
import Testing

@testable import Proxy

@Suite("A new process, and one that offers it sockets", .serialized)
struct HandoverTests {
  private static func isOpen(_ number: Int32) -> Bool { fcntl(number, F_GETFD) != -1 }

  private static func loopback() throws -> SocketAddress {
    try SocketAddress.resolve(host: "127.0.0.1", port: 0)[0]
  }

  /// What an old process says, and the descriptors that go along.
  private struct Step: Sendable {
    let message: HandoverMessage
    var descriptors: [Int32] = []
  }

  /// Lets an old process say its part on a thread, and a new one ask it.
  private func ask(_ steps: [Step]) throws -> Result<RunningProcess, HandoverFault> {
    let path = "/tmp/millrace-handover-\(getpid()).sock"
    let listener = try HandoverListener(path: path)
    defer { unlink(path) }
    let thread = try WorkerThread.start(name: "old", cpu: nil) {
      guard let connection = listener.accept() else { return }
      let conversation = HandoverConversation(connection)
      conversation.limitWaiting(milliseconds: 5_000)
      guard (try? conversation.receive(.request)) != nil else { return }
      for step in steps {
        guard (try? conversation.transmit(step.message, step.descriptors)) != nil else { return }
      }
      // Those that say too little end here.
    }
    defer { thread.join() }
    let conversation = HandoverConversation(
      try HandoverConnection(path: path, milliseconds: 5_000))
    do throws(HandoverFault) { return .success(try RunningProcess.ask(conversation)) } catch {
      return .failure(error)
    }
  }

  private func offer(_ sockets: Int, hasAuditLock: Bool = false) -> HandoverMessage {
    let keys = TicketKeys(randomBytes: { SystemRandomness.fill($0) }, now: 0).copied
    return HandoverMessage(
      .offer,
      HandoverOffer(
        sockets: sockets, ticketKeys: keys, hasAuditLock: hasAuditLock, generation: 1
      ).payload)
  }

  @Test("sockets come in as many messages as they need, with what they are bound to")
  func whole() throws {
    let address = try Self.loopback()
    let opened = try (0..<3).map { _ in try ListeningSocket.open(address) }
    defer { for number in opened { ListeningSocket.close(number) } }
    let offer = offer(3, hasAuditLock: true)
    let running = try ask([
      Step(message: HandoverMessage(.sockets, [0, 1]), descriptors: Array(opened[..<2])),
      Step(message: HandoverMessage(.sockets, [0]), descriptors: [opened[2]]),
      Step(message: offer, descriptors: [opened[0]]),
    ]).get()
    #expect(running.sockets.count == 3)
    #expect(running.sockets.map(\.isForeign) == [false, true, false])
    let areHandedOver = running.sockets.map(\.isHandedOver)
    #expect(areHandedOver == [true, true, true])
    for socket in running.sockets {
      #expect(Self.isOpen(socket.number))
      ListeningSocket.close(socket.number)
    }
    let lock = try #require(running.takeAuditLock())
    #expect(running.takeAuditLock() == nil)
    ListeningSocket.close(lock)
    let keys = TicketKeys(copied: running.takeTicketKeys(), randomBytes: { _ in })
    #expect(keys != nil)
  }

  @Test("what is not a listening socket, or is not counted, is refused, and all of it closed")
  func refused() throws {
    let address = try Self.loopback()
    let listener = try ListeningSocket.open(address)
    defer { ListeningSocket.close(listener) }
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    let other = ends[0]
    defer { for end in ends { close(end) } }
    let one = HandoverMessage(.sockets, [0])
    let parts: [[Step]] = [
      [Step(message: one, descriptors: [other])],
      [Step(message: one, descriptors: [listener, listener])],
      [Step(message: HandoverMessage(.sockets, [0, 0]), descriptors: [listener])],
      [Step(message: HandoverMessage(.sockets))],
      [Step(message: offer(1))],
      [Step(message: offer(0, hasAuditLock: true))],
      [
        Step(message: one, descriptors: [listener]),
        Step(message: offer(1), descriptors: [listener]),
      ],
      [
        Step(message: one, descriptors: [listener]),
        Step(message: HandoverMessage(.offer, [1, 2, 3])),
      ],
      [Step(message: HandoverMessage(.released))],
      [Step(message: HandoverMessage(.released), descriptors: [listener])],
      [Step(message: .failed("not today"))],
      [],
    ]
    for part in parts {
      guard case .failure(let fault) = try ask(part) else {
        Issue.record("taken")
        continue
      }
      #expect(!fault.description.isEmpty)
    }
    #expect(Self.descriptors(with: try #require(Self.inode(listener))) == 1)
    // Both ends.
    #expect(Self.descriptors(with: try #require(Self.inode(other))) == 2)
  }

  /// Which file a descriptor is of.
  private static func inode(_ number: Int32) -> (dev_t, ino_t)? {
    var facts = stat()
    return fstat(number, &facts) == 0 ? (facts.st_dev, facts.st_ino) : nil
  }

  /// How many of this process's descriptors are of a file; other tests have theirs meanwhile.
  private static func descriptors(with wanted: (dev_t, ino_t)) -> Int {
    (0..<4096).count { inode($0).map { $0 == wanted } ?? false }
  }

  @Test(
    "as many descriptors as one message may have, and no more",
    arguments: [
      HandoverConnection.descriptorsMaximum - 1, HandoverConnection.descriptorsMaximum,
      HandoverConnection.descriptorsMaximum + 1,
    ])
  func many(count: Int) throws {
    let listener = try ListeningSocket.open(try Self.loopback())
    defer { ListeningSocket.close(listener) }
    let sockets = HandoverMessage(.sockets, Array(repeating: 0, count: count))
    let result = try ask([
      Step(message: sockets, descriptors: Array(repeating: listener, count: count)),
      Step(message: offer(count)),
    ])
    switch result {
    case .success(let running):
      #expect(count <= HandoverConnection.descriptorsMaximum)
      #expect(running.sockets.count == count)
      for socket in running.sockets { ListeningSocket.close(socket.number) }
    case .failure: #expect(count > HandoverConnection.descriptorsMaximum)
    }
  }

  // MARK: Dealing out

  private func preflight(
    _ addresses: [SocketAddress], _ sockets: [InheritedSocket]
  ) -> Preflight {
    Preflight(
      listenerAddresses: addresses, serverAddresses: [], certificates: [], lock: nil,
      inherited: sockets)
  }

  /// Sockets of one address, as another process had them.
  private func handedOver(_ count: Int) throws -> (address: SocketAddress, [InheritedSocket]) {
    let first = try ListeningSocket.open(try Self.loopback())
    let address = InheritedSockets.received([try ListeningSocket.duplicate(first)])[0]
    ListeningSocket.close(address.number)
    let others = try (1..<count).map { _ in try ListeningSocket.open(address.address) }
    return (
      address.address,
      InheritedSockets.received([first] + others).map { $0.handedOver(isForeign: false) }
    )
  }

  @Test(
    "each worker gets a socket, all that another process had are served on, and none joins them",
    arguments: [(1, 3), (3, 3), (3, 1), (5, 2)])
  func dealing(sockets: Int, workers: Int) throws {
    let (address, handed) = try handedOver(sockets)
    let copies = SocketCopies()
    let start = try #require(
      try ListenerOpening.start(
        preflight([address], handed), workers: workers, limit: 1 << 20, copies: copies))
    #expect(start.adopted == Array(repeating: true, count: sockets))
    #expect(start.unused.isEmpty && start.foreignPaths.isEmpty)
    // Another one would get connections before this process is ready.
    #expect(start.sockets.isShared(0) == (sockets < workers))
    var taken: [[Int32]] = []
    for worker in 0..<workers {
      var own: [Int32] = []
      while let number = start.sockets.take(0, worker: worker) { own.append(number) }
      taken.append(own)
    }
    #expect(!taken.contains([]))
    let all = taken.joined()
    #expect(all.count == max(sockets, workers) && Set(all).count == all.count)
    #expect(Set(handed.map(\.number)).isSubset(of: all))
    let kept = try copies.withAll { copies throws(HandoverFault) in copies.count }
    #expect(kept == sockets)
    for number in all { ListeningSocket.close(number) }
  }

  @Test(
    "a worker has as many sockets as it has room for, and no more",
    arguments: [
      Listeners.socketsMaximum - 1, Listeners.socketsMaximum, Listeners.socketsMaximum + 1,
    ])
  func room(count: Int) throws {
    _ = DescriptorLimit.raise()
    let (address, handed) = try handedOver(count)
    let preflight = preflight([address], handed)
    do throws(SystemFailure) {
      let start = try ListenerOpening.start(preflight, workers: 1, limit: 1 << 20, copies: nil)
      #expect(count <= Listeners.socketsMaximum)
      var taken = 0
      while let number = start?.sockets.take(0, worker: 0) {
        ListeningSocket.close(number)
        taken += 1
      }
      #expect(taken == count)
    } catch {
      #expect(count > Listeners.socketsMaximum && error.code == ENOBUFS)
      for socket in handed { ListeningSocket.close(socket.number) }
    }
  }

  @Test("a service manager's socket is shared, and what nobody asks for is closed and told")
  func foreign() throws {
    let own = InheritedSockets.received([try ListeningSocket.open(try Self.loopback())])
    let other = InheritedSockets.received([try ListeningSocket.open(try Self.loopback())])
    let file = try #require(Self.inode(other[0].number))
    let start = try #require(
      try ListenerOpening.start(
        preflight([own[0].address], own + other), workers: 2, limit: 1 << 20, copies: nil))
    #expect(start.adopted == [true, false])
    #expect(start.unused.map(\.description) == [other[0].address.description])
    #expect(start.sockets.isShared(0))
    #expect(Self.descriptors(with: file) == 0)
    let numbers = (0..<2).compactMap { start.sockets.take(0, worker: $0) }
    #expect(numbers.count == 2)
    for number in numbers { ListeningSocket.close(number) }
  }

  @Test("without sockets and without copies each worker opens its own")
  func none() throws {
    let start = try ListenerOpening.start(
      preflight([try Self.loopback()], []), workers: 2, limit: 1 << 20, copies: nil)
    #expect(start == nil)
  }

  @Test("copies of sockets that are gone are closed, the others kept")
  func copies() throws {
    let copies = SocketCopies()
    let opened = try (0..<2).map { _ in
      InheritedSockets.received([try ListeningSocket.open(try Self.loopback())])[0]
    }
    for socket in opened { try copies.keep(socket.address, socket.number) }
    copies.keepOnly([opened[1].address.description])
    let left = try copies.withAll { copies throws(HandoverFault) in copies.map(\.address) }
    #expect(left == [opened[1].address.description])
    copies.closeAll()
    let none = try copies.withAll { copies throws(HandoverFault) in copies.count }
    #expect(none == 0)
    for socket in opened { ListeningSocket.close(socket.number) }
  }

  @Test("the path is that of the admin server's socket, where it has room for it")
  func path() {
    func path(_ address: EndpointAddress?) -> String? {
      var configuration = ProxyConfiguration()
      configuration.admin = address.map { AdminConfiguration(address: $0) }
      return configuration.upgradePath
    }
    #expect(path(nil) == nil)
    #expect(path(.ip(host: "127.0.0.1", port: 9901)) == nil)
    #expect(path(.unix(path: "/run/m.sock")) == "/run/m.sock.upgrade")
    let room = 107 - ".upgrade".utf8.count - UnixSocketFile.unpublished.utf8.count
    for length in [room - 1, room] {
      #expect(path(.unix(path: "/" + String(repeating: "x", count: length - 1))) != nil)
    }
    #expect(path(.unix(path: "/" + String(repeating: "x", count: room))) == nil)
  }
}
