import MillraceEngine
import Testing

@testable import Proxy

@Suite("The listeners of a worker")
struct ListenersTests {
  @Test("accepted connections are returned, and a stop loses none that waited")
  func acceptAndStop() throws {
    let world = SimulatedWorld(seed: 1, .calm)
    let address = try SocketAddress.resolve(host: "127.0.0.1", port: 8080)[0]
    var engine = Simulated(EngineOptions(), world: world)
    var listeners = Listeners(worker: 0, board: nil)
    let code = try listeners.open(0, ListenerIdentity(number: 0), address, cpu: nil, &engine)
    #expect(code == 0)
    let clients = [world.connect(to: address), world.connect(to: address)]
    var accepted: [Descriptor] = []
    for _ in 0..<10 {
      engine.wait(until: engine.now + 1_000_000)
      while let completion = engine.next() {
        if case .accepted(let socket) = listeners.accepted(0, completion, &engine) {
          accepted.append(socket)
        }
      }
    }
    #expect(accepted.count == 2)
    let isOpen = !listeners.isClosed
    #expect(isOpen)

    // Has come when the accept is ended, and has not been looked at.
    let late = world.connect(to: address)
    engine.wait(until: engine.now + 1_000_000)
    listeners.stop()
    let isReady = listeners.stopAccepting(0, &engine)
    #expect(!isReady)
    for _ in 0..<10 where !listeners.isClosed {
      engine.wait(until: engine.now + 1_000_000)
      while let completion = engine.next() {
        switch listeners.accepted(0, completion, &engine) {
        case .accepted(let socket): accepted.append(socket)
        case .stopped:
          while let socket = listeners.takeWaiting(0, &engine) { accepted.append(socket) }
        case .none: break
        }
      }
    }
    let isClosed = listeners.isClosed
    #expect(isClosed)
    #expect(accepted.count == 3)
    let refuses = listeners.refuseHandOvers(&engine)
    #expect(!refuses)
    for socket in accepted { engine.close(socket) }
    withExtendedLifetime((clients, late)) {}
  }

  @Test("a listener that was never opened, another worker's, is ready to be closed")
  func neverOpened() {
    let world = SimulatedWorld(seed: 1, .calm)
    var engine = Simulated(EngineOptions(), world: world)
    var listeners = Listeners(worker: 1, board: nil)
    listeners.stop()
    let isReady = listeners.stopAccepting(0, &engine)
    #expect(isReady)
    let waiting = listeners.takeWaiting(0, &engine)
    #expect(waiting == nil)
    let isClosed = listeners.isClosed
    #expect(isClosed)
    let retry = listeners.nextRetry
    #expect(retry == .max)
  }
}
