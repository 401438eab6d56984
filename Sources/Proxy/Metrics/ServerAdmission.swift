// Whether a server may be given requests, as an operator has set it. The state is a byte that one thread of the
// process writes and workers read when they choose a server: no message has to reach a worker before it holds,
// and nothing is locked. It belongs to the server, not to a plan, so that it outlives a reload.

import Synchronization

package enum ServerAdmission: UInt8, CaseIterable, Sendable {
  case up
  /// It gets no new request; those that it has, tunnels included, go on.
  case drain
  /// The same, and its idle connections are closed at once.
  case maintenance

  package init?(name: String) {
    guard let found = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = found
  }

  package var name: String {
    switch self {
    case .up: "up"
    case .drain: "drain"
    case .maintenance: "maintenance"
    }
  }
}

/// A server's byte, as plans have it.
struct ServerSwitch {
  fileprivate let cell: UnsafeMutablePointer<Atomic<UInt8>>

  var admission: ServerAdmission {
    ServerAdmission(rawValue: cell.pointee.load(ordering: .relaxed)) ?? .up
  }

  @inline(__always) var isUp: Bool { cell.pointee.load(ordering: .relaxed) == 0 }
}

/// The bytes of all servers that there ever were in this process, by upstream and address. They are never freed:
/// a worker that is not waited for reads them until its end.
package final class ServerSwitches: Sendable {
  private struct Identity: Hashable {
    let upstream: String
    let server: String
  }

  private struct Cells: @unchecked Sendable {
    // Sendable: the dictionary is locked, and what the pointers point at is atomic.
    var byServer: [Identity: ServerSwitch] = [:]
  }

  private let cells = Mutex(Cells())

  package init() {}

  /// The byte of a server; made if there was none.
  func cell(upstream: String, server: String) -> ServerSwitch {
    cells.withLock { cells in
      let identity = Identity(upstream: upstream, server: server)
      if let known = cells.byServer[identity] { return known }
      let cell = UnsafeMutablePointer<Atomic<UInt8>>.allocate(capacity: 1)
      cell.initialize(to: Atomic(ServerAdmission.up.rawValue))
      let made = ServerSwitch(cell: cell)
      cells.byServer[identity] = made
      return made
    }
  }

  package func admission(upstream: String, server: String) -> ServerAdmission {
    cell(upstream: upstream, server: server).admission
  }

  package func set(_ admission: ServerAdmission, upstream: String, server: String) {
    cell(upstream: upstream, server: server).cell.pointee
      .store(admission.rawValue, ordering: .relaxed)
  }
}
