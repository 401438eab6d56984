// What keeps a large value where it is.

internal import Synchronization

/// A member that makes the type that has it one whose values have an address. Swift hands any other struct of a
/// size known to it to a method that only reads as a copy on the stack, be it of an engine's 1.3 KB or of all that
/// has one: a request of the proxy had 12 KB copied by such calls.
package struct InPlace: ~Copyable {
  private let byte = Atomic<UInt8>(0)

  package init() {}
}
