// What makes two listeners of two plans the same one.

package import Configuration

/// A listener, whatever plan it is of. The number of its address decides about the socket; its connections go on
/// by a new plan only where it speaks of the same kind of connection.
package struct ListenerIdentity: Equatable, Sendable {
  /// The number that the process has given the address, with two bits for the kind.
  let number: Int32

  init(number: Int32) { self.number = number }

  /// - Parameter socket: the number of its address.
  package init(socket: Int32, _ listener: ListenerConfiguration) {
    number = socket << 2 | (listener.tls == nil ? 0 : 1) | (listener.relay == nil ? 0 : 2)
  }

  /// The number of the address.
  package var socket: Int32 { number >> 2 }
}
