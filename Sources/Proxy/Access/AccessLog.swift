// The access log of a process, as the rest of it sees it: where lines are put, where they go to, and that
// a file is to be opened again. The lines themselves are written by a thread of its own (`AccessWriter`),
// which is the same on both engines and for every destination: standard output and a FIFO cannot be
// written through a ring without a thread either, and a slow disk takes nothing from the workers.

import Configuration
import Glibc
import Logging
import MillraceEngine
import Synchronization

/// The access log of all workers.
final class AccessLog: Sendable {
  /// What the thread that writes has been told.
  struct Orders {
    /// nil: nothing is written.
    var destination: AccessDestination?
    var isStopping = false
    /// Asked for, and done.
    var reopenings = 0
    /// One more with each order.
    var number = 0
  }

  let feed: LineFeed
  private let orders: Mutex<Orders>
  private let isFinished = Atomic<Bool>(false)
  private let isStarted = Atomic<Bool>(false)
  private let logger: Logger

  init(
    workers: Int, _ destination: AccessDestination?, _ logger: Logger,
    capacity: Int = LineRing.standardCapacity
  ) throws(SystemFailure) {
    feed = try LineFeed(workers: workers, capacity: capacity)
    orders = Mutex(Orders())
    self.logger = logger
    direct(to: destination)
  }

  /// Lines go there from now on; nil: none are written.
  func direct(to destination: AccessDestination?) {
    let isNew = orders.withLock { orders in
      guard orders.destination != destination else { return false }
      orders.destination = destination
      orders.number += 1
      return true
    }
    guard isNew else { return }
    if destination != nil { start() }
    feed.open(destination != nil)
    feed.signal.call()
  }

  /// Opens the file anew: another one may be at its path.
  /// - Returns: false if there is no access log.
  @discardableResult
  func reopen() -> Bool {
    let isOn = orders.withLock { orders in
      orders.reopenings += 1
      orders.number += 1
      return orders.destination != nil
    }
    feed.signal.call()
    return isOn
  }

  var current: Orders { orders.withLock { $0 } }

  /// Writes what is there and ends. - Parameter milliseconds: to wait at most.
  func stop(milliseconds: Int) {
    orders.withLock {
      $0.isStopping = true
      $0.number += 1
    }
    feed.signal.call()
    guard isStarted.load(ordering: .acquiring) else { return }
    for _ in 0..<milliseconds {
      if isFinished.load(ordering: .acquiring) { return }
      Pause.microseconds(1000)
    }
  }

  private func start() {
    let (isFirst, _) = isStarted.compareExchange(
      expected: false, desired: true, ordering: .acquiringAndReleasing)
    guard isFirst else { return }
    do throws(SystemFailure) {
      _ = try WorkerThread.start(name: "millrace-access", cpu: nil) { [self] in
        var writer = AccessWriter(self, logger)
        writer.run()
        isFinished.store(true, ordering: .releasing)
      }
    } catch {
      isStarted.store(false, ordering: .releasing)
      logger.error("cannot start the access log error=\"\(error)\" effect=\"lines are dropped\"")
    }
  }
}

/// Where lines go, and how each looks there.
struct AccessDestination: Sendable, Equatable {
  var target: LogSink.Target
  /// Each line is a message of syslog.
  var syslog: SyslogHeader?

  /// - Returns: nil where there is no access log.
  /// - Throws: where the address of syslog has no meaning on this host.
  init?(_ access: AccessLogConfiguration?) throws {
    guard let access else { return nil }
    switch access.destination {
    case .standardOutput: target = .standardOutput
    case .file(let path): target = .file(path)
    case .syslog(let syslog):
      self.syslog = SyslogHeader(syslog)
      let name = syslog.address.description
      switch syslog.address {
      case .unix(let path):
        guard let address = SocketAddress(unixPath: path) else {
          throw SystemFailure(code: ENAMETOOLONG, operation: name)
        }
        target = .datagram(address, name: name)
      case .ip(let host, let port):
        let found = try SocketAddress.resolve(host: host, port: port, passive: false)
        guard let address = found.first else {
          throw SystemFailure(code: EADDRNOTAVAIL, operation: name)
        }
        target = .datagram(address, name: name)
      }
    }
  }
}
