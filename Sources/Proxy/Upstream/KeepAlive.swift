// For how long a server keeps a connection between two requests: what it says (Keep-Alive), and what
// it did. A request that is sent at the very moment at which the server closes is lost, and one that
// is not idempotent cannot be sent again, so a connection is not used up to that moment.

import Glibc
import MillraceEngine

enum KeepAlive {
  /// What a connection may be idle for, of the time after which its server closes it: an eighth less,
  /// and 200 ms less at least. The request has to arrive before the server looks at its clock.
  static func safely(_ nanoseconds: Int64) -> Int64 {
    max(0, nanoseconds - max(nanoseconds / 8, 200_000_000))
  }

  /// The time of a Keep-Alive field (RFC 2068 19.7.1.1): `timeout=5, max=100`, in seconds.
  /// - Returns: nanoseconds for which the connection may be idle; `Int64.max` where it says nothing
  ///   that can be understood.
  static func idleTime(_ value: UnsafeRawBufferPointer) -> Int64 {
    var start = 0
    while start < value.count {
      var end = start
      while end < value.count && value[end] != UInt8(ascii: ",") { end += 1 }
      if let seconds = timeout(UnsafeRawBufferPointer(rebasing: value[start..<end])) {
        return safely(seconds * 1_000_000_000)
      }
      start = end + 1
    }
    return .max
  }

  /// The seconds of one parameter, a day at most; nil if it is another one or none.
  private static func timeout(_ parameter: UnsafeRawBufferPointer) -> Int64? {
    let name: StaticString = "timeout"
    var at = 0
    func skipBlanks() {
      while at < parameter.count, parameter[at] == 0x20 || parameter[at] == 0x09 { at += 1 }
    }
    skipBlanks()
    guard parameter.count - at > name.utf8CodeUnitCount else { return nil }
    for i in 0..<name.utf8CodeUnitCount where parameter[at + i] | 0x20 != name.utf8Start[i] {
      return nil
    }
    at += name.utf8CodeUnitCount
    skipBlanks()
    guard at < parameter.count, parameter[at] == UInt8(ascii: "=") else { return nil }
    at += 1
    skipBlanks()
    var seconds: Int64 = 0
    let first = at
    while at < parameter.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(parameter[at]) {
      seconds = min(seconds * 10 + Int64(parameter[at] - UInt8(ascii: "0")), 86_400)
      at += 1
    }
    guard at > first else { return nil }
    skipBlanks()
    return at == parameter.count ? seconds : nil
  }
}

extension ServerState {
  /// Servers count in whole seconds: what is closed sooner was closed for another reason (a restart, a
  /// bound on requests).
  static let shortestKeepAlive: Int64 = 900_000_000
  /// How long a server's habit is remembered: it may have been restarted with another.
  static let memory: Int64 = 600_000_000_000

  /// For how long a connection may be idle, as far as the server's habit is known.
  func idleTime(now: Int64) -> Int64 { now < habitUntil ? habit : .max }

  /// The server has closed a connection that had been idle for `age`, since `since`.
  ///
  /// Once may be a restart, which ends connections of any age. It is a habit when a connection that was
  /// idle only after that ends at the same age, within an eighth.
  mutating func noteIdleEnd(age: Int64, since: Int64, now: Int64) {
    guard age >= Self.shortestKeepAlive else { return }
    let isKnown = now < suspectedAt + Self.memory
    // One of the same time: it says nothing new.
    if isKnown && since < suspectedAt { return }
    if isKnown && abs(age - suspectedAge) <= age / 8 {
      habit = min(KeepAlive.safely(min(age, suspectedAge)), idleTime(now: now))
      habitUntil = now + Self.memory
    }
    suspectedAge = age
    suspectedAt = now
  }
}
