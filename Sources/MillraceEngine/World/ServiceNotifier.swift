// What a service manager is told of the process, in the protocol of sd_notify(3): one datagram of
// assignments to the UNIX socket that it has named in the environment.

import CLinux
import Glibc

/// The way to the service manager.
public final class ServiceNotifier: Sendable {
  private let descriptor: Int32
  private let address: SocketAddress

  /// How long a datagram may wait for room, in microseconds: a manager that reads nothing must not hold the
  /// process.
  private static let patienceMicroseconds = 1_000_000

  /// The manager that NOTIFY_SOCKET names: a path, or with an at sign in front an abstract name, unix(7).
  /// - Returns: nil without one, or where no socket can be made.
  public convenience init?() {
    guard let name = getenv("NOTIFY_SOCKET") else { return nil }
    self.init(socket: String(cString: name))
  }

  /// - Parameter name: as NOTIFY_SOCKET has it.
  public init?(socket name: String) {
    let found =
      name.hasPrefix("@")
      ? SocketAddress(abstractName: String(name.dropFirst()))
      : name.hasPrefix("/") ? SocketAddress(unixPath: name) : nil
    let number = socket(
      AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard let found, number >= 0 else {
      if number >= 0 { close(number) }
      return nil
    }
    address = found
    descriptor = number
    var limit = timeval(tv_sec: 0, tv_usec: 0)
    limit.tv_sec = Self.patienceMicroseconds / 1_000_000
    _ = setsockopt(
      number, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
  }

  deinit { close(descriptor) }

  /// Sends assignments such as `READY=1`. What cannot be sent is lost, as sd_notify(3) has it.
  public func send(_ assignments: String...) {
    let text = Array(assignments.joined(separator: "\n").utf8)
    _ = Sockets.withAddress(address) {
      sendto(descriptor, text, text.count, Int32(MSG_NOSIGNAL), $0, $1)
    }
  }

  /// How often the manager wants to hear `WATCHDOG=1`, in nanoseconds, sd_watchdog_enabled(3); nil: it does not.
  public static var watchdogNanoseconds: Int64? {
    func number(_ name: String) -> Int64? {
      getenv(name).flatMap { Int64(String(cString: $0)) }
    }
    guard let microseconds = number("WATCHDOG_USEC"), microseconds > 0,
      microseconds < Int64.max / 1000
    else { return nil }
    if getenv("WATCHDOG_PID") != nil, number("WATCHDOG_PID") != Int64(getpid()) { return nil }
    return microseconds * 1000
  }
}
