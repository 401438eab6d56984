// One compiled configuration among those that follow one another in a process, and the memory that it
// is made of. Workers hold it once each, whatever number of connections they have on it; the last one
// that lets go frees it.

import Configuration
import Glibc
import MillraceEngine
import TLS

/// Memory that is given out while a plan is compiled, and freed as a whole.
struct PlanMemory {
  private var blocks: [UnsafeMutableRawPointer] = []

  /// A copy of an array, whose elements need no deinitialisation. There is an address even for none.
  mutating func keep<T>(_ array: [T]) -> UnsafeBufferPointer<T> {
    let memory = UnsafeMutablePointer<T>.allocate(capacity: max(array.count, 1))
    memory.initialize(from: array, count: array.count)
    blocks.append(memory)
    return UnsafeBufferPointer(start: memory, count: array.count)
  }

  func free() {
    for block in blocks { block.deallocate() }
  }
}

/// A plan with its memory.
package final class PlanGeneration: @unchecked Sendable {
  // Sendable: nothing is changed after `init`.
  let plan: Plan
  /// From 1 on, in the order in which the process made them.
  package let number: Int
  /// Sockets that workers are given for listeners; those of others they have, or open themselves.
  let sockets: ListenerSockets?
  private let memory: PlanMemory

  /// - Parameters:
  ///   - contexts: by listener; nil: plain.
  ///   - clientContexts: by upstream; nil, or none: plain.
  ///   - identities: by listener (`ListenerPlan.identity`); none: their places.
  init(
    _ configuration: ProxyConfiguration, number: Int = 1, listenerAddresses: [SocketAddress],
    serverAddresses: [[[SocketAddress]]], contexts: [TLSContext?],
    clientContexts: [TLSClientContext?] = [], identities: [ListenerIdentity] = [],
    sockets: ListenerSockets? = nil, metrics: ProxyMetrics
  ) {
    var memory = PlanMemory()
    plan = Plan(
      configuration, listenerAddresses: listenerAddresses, serverAddresses: serverAddresses,
      contexts: contexts, clientContexts: clientContexts, identities: identities, metrics: metrics,
      memory: &memory)
    self.number = number
    self.sockets = sockets
    self.memory = memory
  }

  deinit {
    for listener in plan.listeners { listener.tls?.release() }
    for upstream in plan.upstreams { upstream.tls?.release() }
    memory.free()
  }
}
