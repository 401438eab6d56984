// The TCP echo server once more, with tasks: what the façade is for. Compare tcp-echo, which is the
// same server on the engine itself: faster by the price of a task per operation, longer by its loop.
//
// What to see here:
// - A connection is a child task; the group ends when the listener was closed and all have ended.
// - `receive` and `send` wait for each other, so the pace of the peer is the pace of the server.
// - A signal closes the listener and cancels the tasks: each `receive` then throws, after the
//   kernel has let go of its operation.

import Glibc
import MillraceAsync
import MillraceEngine
import Support

@Sendable func echo(_ connection: AsyncConnection) async {
  do {
    while let bytes = try await connection.receive() {
      try await connection.send(bytes)
    }
  } catch {
    // The peer reset the connection, or the server stops: either way this connection ends.
  }
  await connection.close()
}

func serve(on address: SocketAddress, _ kind: EngineKind, until stop: StopSignals) async throws {
  let engine = try await AsyncEngine(kind)
  let listener = try await engine.listen(on: address)
  say("listening on \(listener.address!) (\(engine.kind.rawValue))")

  let (signals, signalled) = AsyncStream.makeStream(of: Void.self)
  stop.start { signalled.finish() }

  await withTaskGroup(of: Void.self) { group in
    group.addTask {
      await withDiscardingTaskGroup { connections in
        do {
          for try await connection in listener.connections {
            connections.addTask { await echo(connection) }
          }
        } catch is CancellationError {
        } catch {
          say("\(error)")
        }
      }
    }
    for await _ in signals {}
    await listener.close()
    group.cancelAll()
  }
  await engine.shutdown()
}

let arguments = Arguments(usage: "async-echo [--listen HOST:PORT]", options: ["listen"])
let address = arguments.address("listen", default: "127.0.0.1:7007")
// Before the first task: signals are blocked for this thread and those that it starts, and a task
// starts threads. For the same reason this file has no `await` at its top level.
let stop = StopSignals()
var options = EngineOptions()
let kind = arguments.engine(&options)
Task.detached {
  do {
    try await serve(on: address, kind, until: stop)
    exit(0)
  } catch {
    giveUp(error)
  }
}
while true { pause() }
