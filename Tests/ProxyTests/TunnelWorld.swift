// A tunnel in virtual time, with a client and a server that speak as a test wants.

import MillraceEngine

@testable import Proxy

/// One end of a tunnel: what it has still to send, and what it has received.
final class TunnelEnd {
  let peer: SimulatedPeer
  private(set) var received: [UInt8] = []
  private(set) var hasEnded = false
  private(set) var wasReset = false
  var reads = true
  /// Ends its side once everything has been taken.
  var endsWhenSent = false
  /// Called with all that has come so far.
  var onBytes: ((TunnelEnd) -> Void)?
  var onEnd: ((TunnelEnd) -> Void)?
  private var outgoing: [UInt8] = []
  private var sent = 0
  private var hasFinished = false
  private var headEnd = 0

  init(_ peer: SimulatedPeer) {
    self.peer = peer
    peer.onEvent = { [unowned self] _, event in
      switch event {
      case .connected, .writable: flush()
      case .readable: take()
      case .ended:
        hasEnded = true
        onEnd?(self)
      case .reset, .refused: wasReset = true
      }
    }
  }

  func send(_ bytes: [UInt8]) {
    outgoing += bytes
    flush()
  }

  func send(_ text: String) { send(Array(text.utf8)) }

  func finish() {
    endsWhenSent = true
    flush()
  }

  func take(atMost limit: Int = 1 << 20) {
    guard reads else { return }
    received += peer.receive(atMost: limit)
    onBytes?(self)
  }

  /// Takes some although it does not read by itself.
  func takeSome(_ count: Int) { received += peer.receive(atMost: count) }

  /// What has come behind the head; nil while that is not whole.
  var throughTunnel: ArraySlice<UInt8>? {
    if headEnd == 0 {
      let end = Array("\r\n\r\n".utf8)
      guard received.count >= 4 else { return nil }
      for at in 0...(received.count - 4) where received[at..<(at + 4)].elementsEqual(end) {
        headEnd = at + 4
        break
      }
    }
    return headEnd > 0 ? received[headEnd...] : nil
  }

  private func flush() {
    while sent < outgoing.count {
      let piece = Array(outgoing[sent...].prefix(131_072))
      let count = peer.send(piece)
      sent += count
      guard count == piece.count else { break }
    }
    if sent == outgoing.count, endsWhenSent, !hasFinished, peer.isConnected {
      hasFinished = true
      peer.finishSending()
    }
  }

}

let tunnelOffer =
  "GET /s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
let tunnelAccepted =
  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

final class TunnelWorld {
  let flow: FlowWorld
  private(set) var client: TunnelEnd?
  private(set) var server: TunnelEnd?
  /// Called once the server has the request's head.
  var onRequest: ((TunnelEnd) -> Void)?
  private var hasAnswered = false

  init(_ flow: FlowWorld) {
    self.flow = flow
    flow.onServerPeer = { [unowned self] peer in
      let end = TunnelEnd(peer)
      server = end
      end.onBytes = { [unowned self] end in
        guard !hasAnswered, end.throughTunnel != nil else { return }
        hasAnswered = true
        onRequest?(end)
      }
    }
    onRequest = { $0.send(tunnelAccepted) }
  }

  func connect(_ text: String = tunnelOffer) -> TunnelEnd {
    let end = TunnelEnd(flow.connectPeer())
    client = end
    end.send(text)
    return end
  }

  /// What has come to each side through the tunnel.
  var toServer: ArraySlice<UInt8>? { server?.throughTunnel }
  var toClient: ArraySlice<UInt8>? { client?.throughTunnel }
}

func tunnelBytes(_ count: Int, _ seed: Int) -> [UInt8] {
  (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 31 &+ $0 >> 8 &+ seed) &* 17) }
}
