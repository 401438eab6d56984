// A listening socket as tasks see it: a sequence of connections. Accepting stops while nobody takes
// them, so that clients wait in the kernel's backlog and not here.

public import MillraceEngine

/// A listening socket. Closed by `close`, or when nobody holds it any more.
public final class AsyncListener: Sendable {
  let engine: AsyncEngine
  let id: UInt64
  /// Where it listens, with the port that the kernel chose.
  public let address: SocketAddress?

  init(engine: AsyncEngine, id: UInt64, address: SocketAddress?) {
    self.engine = engine
    self.id = id
    self.address = address
  }

  deinit { engine.core.abandon(.listener, id) }

  /// The next connection; nil when the listener was closed or the engine shut down.
  ///
  /// Several tasks may wait; each connection goes to one of them, in the order in which they asked.
  /// - Throws: `CancellationError`, or `SystemFailure` when the socket cannot accept any more. Out
  ///   of descriptors (EMFILE, ENFILE, ENOBUFS, ENOMEM) is no such case: accepting pauses for
  ///   100 ms and goes on.
  public func accept() async throws -> AsyncConnection? {
    let reply = try await engine.core.perform { [id] in .accept($0, id) }
    switch reply {
    case .socket(let connection, let peer):
      return AsyncConnection(engine: engine, id: connection, peer: peer)
    case .done: return nil
    default: Core.mismatch()
    }
  }

  /// The connections, as they come.
  public var connections: Connections { Connections(listener: self) }

  /// Stops listening. Connections that nobody has taken are closed; those that were taken live on.
  /// Tasks that wait for one get nil.
  public func close() async {
    await engine.core.close(.listener, id)
  }

  /// `accept` until it returns nil.
  public struct Connections: AsyncSequence, Sendable {
    /// What the sequence gives.
    public typealias Element = AsyncConnection
    let listener: AsyncListener

    /// An iterator; several share the connections among them.
    public func makeAsyncIterator() -> Iterator { Iterator(listener: listener) }

    /// Asks the listener for one connection after another.
    public struct Iterator: AsyncIteratorProtocol {
      let listener: AsyncListener

      /// See `AsyncListener.accept()`.
      public mutating func next() async throws -> AsyncConnection? {
        try await listener.accept()
      }
    }
  }
}
