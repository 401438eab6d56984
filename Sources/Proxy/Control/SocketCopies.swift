// Second descriptors of the sockets that a process listens on, for a process that will take its place: the first
// ones are in the workers' engines. A copy keeps a socket open, so that copies go before the workers close
// theirs: connections in a queue that no process accepts from would wait for ever.

import Glibc
import MillraceEngine
import Synchronization

final class SocketCopies: Sendable {
  struct Copy: Sendable {
    /// What the socket is bound to.
    let address: String
    let number: Int32
    /// Its file, if it has one, is a service manager's, and so is its option SO_REUSEPORT.
    let isForeign: Bool
  }

  private let copies = Mutex<[Copy]>([])

  deinit { closeAll() }

  /// Keeps a copy of a socket. - Throws: EMFILE.
  func keep(
    _ address: SocketAddress, _ number: Int32, isForeign: Bool = false
  ) throws(SystemFailure) {
    let copy = Copy(
      address: address.description, number: try ListeningSocket.duplicate(number),
      isForeign: isForeign)
    copies.withLock { $0.append(copy) }
  }

  /// Closes the copies of other sockets than those with these addresses.
  func keepOnly(_ addresses: Set<String>) { close { !addresses.contains($0.address) } }

  func closeAll() { close { _ in true } }

  private func close(where isGone: (Copy) -> Bool) {
    copies.withLock { copies in
      for copy in copies where isGone(copy) { ListeningSocket.close(copy.number) }
      copies.removeAll(where: isGone)
    }
  }

  /// Lends all copies, which are not closed meanwhile.
  func withAll<R: Sendable>(
    _ body: ([Copy]) throws(HandoverFault) -> R
  ) throws(HandoverFault) -> R {
    let result: Result<R, HandoverFault> = copies.withLock { copies in
      do throws(HandoverFault) { return .success(try body(copies)) } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}
