// The addresses of one server: a name may have several, in which case they are ways to the same
// server and no servers of their own. A connection is tried at the one that worked last, then at the
// others in the resolver's order, before the attempt counts as failed.

import Configuration
import Glibc
import HTTP1
import MillraceEngine
import Transport

/// Which of its server's addresses a connection is made to, and how many are left to try.
struct AddressChoice {
  var index: Int32
  var left: Int32

  mutating func advance(of count: Int) {
    index = (index + 1) % Int32(count)
    left -= 1
  }
}

extension Worker where E: ~Copyable {
  /// Where a server is tried first.
  func firstAddress(_ x: ExchangePointer) -> AddressChoice {
    let count = plan.upstreams[Int(x.pointee.group)].servers[Int(x.pointee.server)].addresses.count
    return AddressChoice(
      index: pools.server(x.pointee.group, x.pointee.server).pointee.address,
      left: Int32(count) - 1)
  }

  /// Begins to connect to the address of `choice`, or to the next one that the kernel does not
  /// refuse at once: a host without IPv6 has no socket for the first address of many names.
  mutating func openConnection(
    _ x: ExchangePointer, _ choice: inout AddressChoice, _ token: Token
  ) throws(SystemFailure) -> Descriptor {
    let upstream = plan.upstreams[Int(x.pointee.group)]
    let addresses = upstream.servers[Int(x.pointee.server)].addresses
    while true {
      let address = addresses[Int(choice.index)]
      do throws(SystemFailure) {
        if let origin = upstream.origin, !address.isUnix {
          return try engine.connect(address, from: origin, token)
        }
        return try engine.connect(address, token)
      } catch {
        guard choice.left > 0, !Self.isExhaustion(error.code) else { throw error }
        choice.advance(of: addresses.count)
      }
    }
  }

  /// Whether an error is this process's want and no fault of the address.
  static func isExhaustion(_ code: Int32) -> Bool {
    code == EMFILE || code == ENFILE || code == ENOBUFS
  }

  /// A connect has failed: goes on with the server's next address. It is the same attempt, since
  /// nothing was sent.
  /// - Returns: false if no address is left.
  mutating func tryNextAddress(_ u: UpstreamPointer) -> Bool {
    guard u.pointee.exchange >= 0, u.pointee.choice.left > 0 else { return false }
    let x = exchanges[UInt32(u.pointee.exchange)]
    let d = downstreams[x.pointee.downstream]
    let t = Self.transport(u)
    guard x.pointee.phase == .request, let frame = t.pointee.unsent.take() else { return false }
    let server = plan.upstreams[Int(u.pointee.group)].servers[Int(u.pointee.server)]
    var choice = u.pointee.choice
    choice.advance(of: server.addresses.count)
    u.pointee.phase = .idle
    detach(u)
    closeUpstream(u)
    x.pointee.upstream = -1
    pools.server(x.pointee.group, x.pointee.server).pointee.active += 1
    connect(x, frame, at: choice)
    flushAttached(x, d)
    return true
  }
}
