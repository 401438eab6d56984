// What other threads hold of an engine: the way to end its wait. It owns its share of the eventfd, so
// that a wake which comes after the engine's end reaches nobody, rather than whoever has been given
// the number since.

import CLinux
import Glibc

/// Ends the `wait` of an engine from any thread. Level-like: a wake that comes before the wait
/// is not lost. One that comes after the engine has ended does nothing; until the last waker of an
/// engine is gone, its eventfd stays open.
public struct Waker: Sendable {
  /// What is written to, or an engine of a simulated world.
  private let number: Int32
  /// nil: a simulated engine's.
  private let owner: WakeDescriptor?

  init(_ descriptor: WakeDescriptor) {
    number = descriptor.number
    owner = descriptor
  }

  /// The waker of an engine of a simulated world.
  init(_ wake: SimulatedWake) {
    number = wake.number
    owner = nil
  }

  /// Ends the `wait` that is under way, or the next one. Never blocks; from any thread.
  public func wake() { Self.wake(number) }

  /// For those who know that the engine lives.
  /// - Parameter number: an eventfd, or what `SimulatedWake` has.
  static func wake(_ number: Int32) {
    if number < -1 { return SimulatedWake.leave(number) }
    var one: UInt64 = 1
    _ = Glibc.write(number, &one, 8)
  }
}

/// The eventfd that ends an engine's wait, closed by the last who holds it: the engine, or a waker.
final class WakeDescriptor: Sendable {
  let number: Int32

  /// - Parameter flags: of eventfd(2), beyond EFD_CLOEXEC.
  init(flags: Int32 = 0) throws(SystemFailure) {
    number = eventfd(0, Int32(EFD_CLOEXEC) | flags)
    guard number >= 0 else { throw SystemFailure(code: errno, operation: "eventfd") }
  }

  deinit { if number >= 0 { Glibc.close(number) } }
}
