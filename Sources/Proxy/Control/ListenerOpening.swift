// The listening sockets that a new plan needs, opened before any worker has the plan: all of them, or none.

import Configuration
import Glibc
import MillraceEngine

enum ListenerOpening {
  /// Takes the sockets that were handed to the process, by address: one for each worker, all of the same socket
  /// and its one queue. What no listener asks for is closed.
  /// - Returns: nil without any.
  static func inherit(
    _ preflight: Preflight, workers: Int
  ) throws(SystemFailure) -> (sockets: ListenerSockets, unused: [SocketAddress])? {
    guard !preflight.inherited.isEmpty else { return nil }
    var numbers: [[Int32]] = Array(repeating: [], count: preflight.listenerAddresses.count)
    var unused: [SocketAddress] = []
    for socket in preflight.inherited {
      defer { ListeningSocket.close(socket.number) }
      let text = socket.address.description
      guard
        let place = preflight.listenerAddresses.firstIndex(where: { $0.description == text }),
        numbers[place].isEmpty
      else {
        unused.append(socket.address)
        continue
      }
      for _ in 0..<(socket.address.isUnix ? 1 : workers) {
        numbers[place].append(try ListeningSocket.duplicate(socket.number))
      }
    }
    return (ListenerSockets(numbers, areShared: true), unused)
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
