// What keeps a large value where it is.

internal import Synchronization

/// A member of a type whose values are too large to be copied. Swift passes such a struct to a method that only
/// reads by a copy on the stack, unless the struct has to stay at its address, as an atomic must: sends and
/// receives on io_uring copied the engine's 1.3 KB, and a request over HTTP/2 the whole relay, 4.3 KB, three times.
package struct InPlace: ~Copyable {
  private let byte = Atomic<UInt8>(0)

  package init() {}
}
