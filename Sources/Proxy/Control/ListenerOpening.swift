// The listening sockets that a new plan needs, opened before any worker has the plan: all of them, or none.

import Configuration
import Glibc
import MillraceEngine

enum ListenerOpening {
  /// The sockets that a process starts with.
  struct Start {
    var sockets: ListenerSockets
    /// Addresses of a service manager's sockets that no listener asks for.
    var unused: [SocketAddress] = []
    /// For each socket that was handed to the process, whether it is served on.
    var adopted: [Bool]
    /// Paths whose files are not this process's.
    var foreignPaths: Set<String> = []
  }

  /// Takes the sockets that were handed to the process, by address, and where copies are kept opens the others.
  /// A service manager's socket is shared by all workers, with its one queue. Those of a process before this
  /// one are dealt out to the workers, also where one gets several: in each connections may wait.
  /// - Parameter copies: where a copy of each is kept for the next process; nil: none is.
  /// - Returns: nil where each worker opens its own.
  static func start(
    _ preflight: Preflight, workers: Int, limit: Int, copies: SocketCopies?
  ) throws(SystemFailure) -> Start? {
    guard copies != nil || !preflight.inherited.isEmpty else { return nil }
    let inherited = preflight.inherited
    let nothing: [[Int32]] = []
    var start = Start(
      sockets: ListenerSockets(nothing), adopted: inherited.map { _ in false })
    var numbers: [[[Int32]]] = []
    var shared: Set<Int> = []
    for (place, address) in preflight.listenerAddresses.enumerated() {
      let count = address.isUnix ? 1 : workers
      let found = places(of: address, in: inherited)
      for index in found { start.adopted[index] = true }
      let sockets = found.map { inherited[$0] }
      var own: [Int32] = []
      if let first = sockets.first {
        if first.isForeign || !ListeningSocket.sharesAddress(first.number) { shared.insert(place) }
        if first.isForeign, let path = address.unixPath { start.foreignPaths.insert(path) }
        own = sockets.map(\.number)
        for socket in sockets {
          try copies?.keep(address, socket.number, isForeign: socket.isForeign)
        }
      }
      // No further socket joins those of a process that serves: the kernel would give it connections at once, which
      // wait until this process is ready, and are reset if it never is.
      if !own.isEmpty && own.count < count { shared.insert(place) }
      var dealt = deal(own, to: count)
      for worker in 0..<count where dealt[worker].isEmpty {
        if !own.isEmpty {
          dealt[worker] = [try ListeningSocket.duplicate(own[worker % own.count])]
        } else if copies != nil {
          let number = try ListeningSocket.open(address)
          dealt[worker] = [number]
          try copies?.keep(address, number)
        }
      }
      guard dealt.joined().allSatisfy({ $0 < limit }) else {
        throw SystemFailure(code: EMFILE, operation: "listen \(address)")
      }
      numbers.append(dealt)
    }
    for worker in 0..<workers {
      let count = numbers.reduce(0) { $0 + ($1.count > worker ? $1[worker].count : 0) }
      guard count <= Listeners.socketsMaximum else {
        throw SystemFailure(
          code: ENOBUFS,
          operation: "serve \(count) sockets with one worker (at most \(Listeners.socketsMaximum); "
            + "the process before this one had more workers)")
      }
    }
    for (socket, isAdopted) in zip(inherited, start.adopted) where !isAdopted {
      ListeningSocket.close(socket.number)
      let isServed = preflight.listenerAddresses.contains {
        $0.description == socket.address.description
      }
      if socket.isForeign && !isServed { start.unused.append(socket.address) }
    }
    start.sockets = ListenerSockets(numbers, shared: shared)
    return start
  }

  /// The sockets of an address: all that a process before this one had, or the first of a service manager's.
  private static func places(
    of address: SocketAddress, in sockets: [InheritedSocket]
  ) -> [Int] {
    let text = address.description
    let all = sockets.indices.filter { sockets[$0].address.description == text }
    let handedOver = all.filter { sockets[$0].isHandedOver }
    return handedOver.isEmpty ? Array(all.prefix(1)) : handedOver
  }

  private static func deal(_ numbers: [Int32], to workers: Int) -> [[Int32]] {
    var dealt: [[Int32]] = Array(repeating: [], count: workers)
    for (i, number) in numbers.enumerated() { dealt[i % workers].append(number) }
    return dealt
  }

  /// Opens what the listeners beside `known` need.
  /// - Parameters:
  ///   - known: addresses that the workers listen on already.
  ///   - limit: of descriptors, as the engines have it.
  /// - Returns: by listener and worker; nil after an error, which is among the problems then.
  static func open(
    _ configuration: ProxyConfiguration, _ addresses: [SocketAddress], known: Set<String>,
    workers: Int, limit: Int, _ problems: inout [Problem]
  ) -> [[Int32]]? {
    var numbers: [[Int32]] = Array(repeating: [], count: addresses.count)
    for (place, address) in addresses.enumerated() where !known.contains(address.description) {
      do throws(SystemFailure) {
        // A UNIX socket has one queue: one worker serves it.
        for _ in 0..<(address.isUnix ? 1 : workers) {
          let number = try ListeningSocket.open(address)
          numbers[place].append(number)
          guard number < limit else {
            throw SystemFailure(code: EMFILE, operation: "listen \(address)")
          }
        }
      } catch {
        for (address, opened) in zip(addresses, numbers) {
          for number in opened { ListeningSocket.close(number, path: address.unixPath) }
        }
        problems.append(Preflight.problem(error, configuration.listeners[place]))
        return nil
      }
    }
    return numbers
  }
}
