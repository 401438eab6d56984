// The addresses of one server: a name may have several, in which case they are ways to the same
// server and no servers of their own. A connection is tried at the one that worked last, then at the
// others in the resolver's order, before the attempt counts as failed.

import Configuration
import Exchange
import Glibc
import MillraceEngine

/// Which of its server's addresses a connection is made to, and how many are left to try.
struct AddressChoice {
  var index: Int32
  var left: Int32

  mutating func advance(of count: Int) {
    index = (index + 1) % Int32(count)
    left -= 1
  }

  /// Begins to connect to the address, or to the next one that the kernel does not refuse at once: a
  /// host without IPv6 has no socket for the first address of many names.
  mutating func connect<E: Engine & ~Copyable>(
    _ server: ServerPlan, from origin: ConnectionOrigin?, _ token: Token, _ engine: inout E
  ) throws(SystemFailure) -> Descriptor {
    while true {
      let address = server.addresses[Int(index)]
      do throws(SystemFailure) {
        if let origin, !address.isUnix { return try engine.connect(address, from: origin, token) }
        return try engine.connect(address, token)
      } catch {
        guard left > 0, !Self.isExhaustion(error.code) else { throw error }
        advance(of: server.addresses.count)
      }
    }
  }

  /// Whether an error is this process's want and no fault of the address.
  static func isExhaustion(_ code: Int32) -> Bool {
    code == EMFILE || code == ENFILE || code == ENOBUFS
  }

  /// What a connect has failed of. - Parameter result: a negated errno.
  static func failure(ofConnect result: Int32) -> Failure.Kind {
    switch -result {
    case ECONNREFUSED, ENOENT: .connectRefused
    case EHOSTUNREACH, ENETUNREACH, EHOSTDOWN: .connectUnreachable
    case ETIMEDOUT: .connectTimeout
    default: .connectFailed
    }
  }
}
