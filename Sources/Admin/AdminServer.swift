// The control plane's server: one thread, poll(2), a few connections, one request at a time. It shares
// nothing with the workers but what its handler reads.
//
// It is no engine's: a ring or an epoll instance with its buffers, and an executor for tasks, would cost
// megabytes for some requests a minute, and would have to work where the workers' engine has just failed to.

import Glibc
import HTTP1
package import MillraceEngine
import Synchronization

package final class AdminServer: Sendable {
  /// Connections at once. A browser opens six, a scraper one.
  static let connectionsMaximum = 32

  private let listener: Int32
  private let isTCP: Bool
  /// Who may connect to a UNIX socket besides its owner and root.
  private let group: UInt32
  private let file: Mutex<UnixSocketFile?>
  private let handler: any AdminHandler
  private let isStopping = Atomic<Bool>(false)
  /// Connections that were refused for whose they were.
  private let refusals = Atomic<Int>(0)
  /// The port that it listens on; 0: it is a UNIX socket.
  package let port: UInt16

  /// Begins to listen.
  /// - Parameter isUnpublished: at a UNIX socket that has another name for now, since another process may still
  ///   answer at its own; see `publish`.
  package init(
    _ address: SocketAddress, _ handler: any AdminHandler, isUnpublished: Bool = false
  ) throws(SystemFailure) {
    let bound = isUnpublished ? address.unpublished : address
    listener = try ControlSockets.listen(bound)
    isTCP = !bound.isUnix
    group = bound.unixPath.flatMap { ControlSockets.group(of: $0) } ?? getegid()
    file = Mutex(bound.unixPath.flatMap { UnixSocketFile($0) })
    port = ControlSockets.port(listener)
    self.handler = handler
  }

  /// Starts the thread, which goes on until `stop` or the end of the process.
  package func start() throws(SystemFailure) -> WorkerThread {
    try WorkerThread.start(name: "millrace-admin", cpu: nil) { [self] in run() }
  }

  /// Ends the thread and removes the socket's file.
  package func stop() {
    isStopping.store(true, ordering: .releasing)
    // Wakes poll(2).
    _ = shutdown(listener, Int32(SHUT_RDWR))
    removeFile()
  }

  /// Gives the socket its own name, in place of what has that: whoever connects finds the one or the other.
  package func publish(as path: String) throws(SystemFailure) {
    guard let unpublished = file.withLock({ $0 }) else { return }
    try unpublished.move(to: path)
    file.withLock { $0 = unpublished.moved(to: path) }
  }

  /// Removes the socket's file if it is still this one's. At the end of the process.
  package func removeFile() { file.withLock { $0?.remove() } }

  package var refusedPeers: Int { refusals.load(ordering: .relaxed) }

  // MARK: The loop

  private func run() {
    var connections: [AdminConnection] = []
    var head = RequestHead(fieldCapacity: AdminConnection.headLimits.fields)
    while !isStopping.load(ordering: .acquiring) {
      let ready = wait(connections)
      let now = SystemClock.monotonicNanoseconds()
      // From the end, so that those that go do not move the others.
      for i in connections.indices.reversed() {
        if !serve(&connections[i], ready[i], &head, now) {
          close(connections[i].descriptor)
          connections.remove(at: i)
        }
      }
      if ready.last ?? 0 != 0 {
        // An answer may have taken its time.
        accept(&connections, SystemClock.monotonicNanoseconds())
      }
    }
    for connection in connections { close(connection.descriptor) }
    close(listener)
  }

  /// Waits for something to do. - Returns: what is ready, by connection, and last of the listener.
  private func wait(_ connections: [AdminConnection]) -> [Int16] {
    let now = SystemClock.monotonicNanoseconds()
    var wanted = connections.map {
      pollfd(fd: $0.descriptor, events: Int16($0.isSending ? POLLOUT : POLLIN), revents: 0)
    }
    wanted.append(pollfd(fd: listener, events: Int16(POLLIN), revents: 0))
    let deadline = connections.map(\.deadline).min()
    let milliseconds = deadline.map { Int32(clamping: max(0, $0 - now) / 1_000_000 + 1) } ?? -1
    _ = poll(&wanted, nfds_t(wanted.count), milliseconds)
    return wanted.map(\.revents)
  }

  private func accept(_ connections: inout [AdminConnection], _ now: Int64) {
    let descriptor = ControlSockets.accept(listener)
    guard descriptor >= 0 else {
      // Out of descriptors or memory: the connection stays in the queue, and must not keep the thread busy.
      switch errno {
      case EAGAIN, EINTR, ECONNABORTED: break
      default: Pause.microseconds(100_000)
      }
      return
    }
    guard isTCP || ControlSockets.isTrusted(descriptor, group: group) else {
      refusals.wrappingAdd(1, ordering: .relaxed)
      close(descriptor)
      return
    }
    if connections.count >= Self.connectionsMaximum {
      // One between two requests can be spared: its client opens another.
      guard let idle = connections.firstIndex(where: \.isIdle) else {
        close(descriptor)
        return
      }
      close(connections[idle].descriptor)
      connections.remove(at: idle)
    }
    connections.append(AdminConnection(descriptor, isTCP: isTCP, now: now))
  }

  /// - Returns: false if the connection has ended.
  private func serve(
    _ connection: inout AdminConnection, _ ready: Int16, _ head: inout RequestHead, _ now: Int64
  ) -> Bool {
    if ready == 0 { return connection.deadline > now }
    if connection.isSending {
      guard connection.flush(now: now) else { return false }
    } else if !connection.receive(now: now) {
      return false
    }
    // Requests that came together are answered one after another.
    while true {
      switch connection.step(&head) {
      case .waits: return true
      case .refuse(let response):
        connection.answer(response, keepsAlive: false, withContent: true, now: now)
      case .serve(let request, let keepsAlive):
        connection.answer(
          handler.respond(to: request), keepsAlive: keepsAlive,
          withContent: request.method != "HEAD", now: SystemClock.monotonicNanoseconds())
      }
      guard connection.flush(now: now) else { return false }
      if connection.isSending { return true }
    }
  }
}
