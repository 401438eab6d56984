// What becomes of a tunnel's direction that was left to the kernel: how much has passed, and how it has ended.

import Exchange
import Glibc
import MillraceEngine
import Transport

extension Relay where E: ~Copyable {
  /// Bytes of a client have passed, or their passage has ended.
  @inline(never)
  mutating func requestPassed(_ slot: UInt32, _ completion: Completion) {
    let d = downstreams[slot]
    // TRAP: begun by this file, and its terminal completion comes once.
    guard let target = d.transport.pointee.relayTarget else {
      return assertionFailure("a relay has ended that was not begun")
    }
    let u = upstreams[target]
    let x = exchange(of: d)
    if let x, completion.result > 0 {
      x.pointee.state.requestPassed(Int(completion.result))
      setResponseDeadline(u, x)
    }
    guard completion.isTerminal else { return }
    d.transport.pointee.relayEnded(completion)
    let isOpen = upstreams.sendEnded(u, &loop)
    if let x, d.transport.pointee.closing == .open {
      x.pointee.bulk.request = BulkFlow()
      if d.transport.pointee.readClosed {
        downstreamEnded(d, d.transport.pointee.endResult)
      } else if completion.isOfSink {
        if isOpen { upstreamSendFailed(u, completion.result) }
      } else if completion.result != -ECANCELED {
        x.pointee.bulk.request.refuse(loop.engine.now)
      }
    }
    downstreams.receiveEnded(d, &loop)
  }

  /// The same of a server.
  @inline(never)
  mutating func responsePassed(_ slot: UInt32, _ completion: Completion) {
    let u = upstreams[slot]
    guard let target = u.transport.pointee.relayTarget else {
      return assertionFailure("a relay has ended that was not begun")
    }
    let d = downstreams[target]
    let x = exchange(of: u)
    if let x, completion.result > 0 {
      x.pointee.state.responsePassed(Int(completion.result))
      setResponseDeadline(u, x)
    }
    guard completion.isTerminal else { return }
    u.transport.pointee.relayEnded(completion)
    let isOpen = downstreams.sendEnded(d)
    if let x, u.transport.pointee.closing == .open {
      x.pointee.bulk.response = BulkFlow()
      if u.transport.pointee.readClosed {
        settleUpstreamEnd(u)
      } else if completion.isOfSink {
        if isOpen { downstreamSendFailed(d) }
      } else if completion.result != -ECANCELED {
        x.pointee.bulk.response.refuse(loop.engine.now)
      }
    }
    upstreams.receiveEnded(u, &loop)
  }
}
