// The outside: what the engine under test is measured against. A script sees these protocols only,
// so that the same script runs before the kernel's sockets and in a simulated world.

import CLinux
import Glibc
import MillraceEngine

/// The other end of a connection.
protocol Peer: AnyObject {
  var localPort: UInt16 { get }
  /// Sends what the connection takes at once. - Returns: bytes taken, or a negated errno.
  @discardableResult func send(_ bytes: [UInt8]) -> Int
  /// Takes what is there. - Returns: the bytes; nil at the end of the stream or on an error.
  func receive(atMost limit: Int) -> [UInt8]?
  /// Why `receive` returned nil: 0 for the end of the stream.
  var lastError: Int32 { get }
  func finishSending()
  func close()
  /// Closes with a reset, whatever is unread.
  func reset()
}

extension Peer {
  @discardableResult
  func send(_ text: String) -> Int { send(Array(text.utf8)) }
  func receive() -> [UInt8]? { receive(atMost: 1 << 20) }
}

/// A listener that is not the engine's.
protocol OutsideListener: AnyObject {
  var address: SocketAddress { get }
  func accepted() throws -> any Peer
  /// Ends it: later connections are refused.
  func close()
}

/// An unconnected datagram socket that is not the engine's.
protocol OutsideDatagrams: AnyObject {
  var address: SocketAddress { get }
  /// - Returns: bytes taken, or a negated errno.
  @discardableResult func send(_ bytes: [UInt8], to address: SocketAddress) -> Int
  /// The next datagram that is there, or nil.
  func receive() -> [UInt8]?
}

/// Everything outside of one engine.
protocol Outside: AnyObject {
  func peer(to address: SocketAddress) throws -> any Peer
  func listener(backlog: Int32) throws -> any OutsideListener
  func datagrams() throws -> any OutsideDatagrams
  /// Lets this much time pass without a turn of the engine.
  func pause(milliseconds: Int)
  /// A directory of this script's own, empty at first.
  func directory() throws -> String
  /// The bytes of a file, or nil if there is none.
  func content(of path: String) -> [UInt8]?
  /// Runs `body` while no further descriptor can be had.
  func withoutDescriptors(_ body: () throws -> Void) throws
  func end()
}

struct HarnessFailure: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

extension SocketAddress {
  /// The address of 127.0.0.1 or of ::1 with this port.
  static func loopback(_ port: UInt16 = 0, host: String = "127.0.0.1") throws -> SocketAddress {
    try resolve(host: host, port: port)[0]
  }
}
