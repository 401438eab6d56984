// One end of a conversation as its speaker sees it: bytes in, bytes out, with TLS between or not, at
// a pace of its own. Backpressure is real: what the network does not take waits here.

import MillraceEngine
import TLS

/// How fast somebody writes and reads. Zero gaps: as fast as the network takes it.
struct Pace {
  var writeBytes = 1 << 20
  var writeGap: Int64 = 0
  var readBytes = 1 << 20
  var readGap: Int64 = 0

  static let prompt = Pace()
}

final class Line {
  enum End { case refused, finished, reset, failed }

  private let world: SimulatedWorld
  private(set) var peer: SimulatedPeer?
  private let pace: Pace
  private var tls: TLSSession?
  private let isTLS: Bool
  private var isSecure = false
  /// Plaintext that waits for the handshake.
  private var early: [UInt8] = []
  /// Bytes that the network has not taken.
  private var outgoing: [UInt8] = []
  private var sent = 0
  private var writing = false
  private var reading = false
  private var finishing = false
  private var said = false
  private var hasEnded = false
  private(set) var isOver = false
  /// Bytes in either direction so far: what a clock of patience looks at.
  private(set) var progress = 0
  /// Flips a bit of the byte of ciphertext at this place; nil: none.
  var corruptAt: Int?
  /// Resets the connection behind this byte of what is written; nil: never.
  var cutAt: Int?
  private var written = 0

  var onConnected: (() -> Void)?
  var onBytes: (([UInt8]) -> Void)?
  /// The last thing that is heard.
  var onEnd: ((End) -> Void)?
  var onDrained: (() -> Void)?

  /// A line that is there already; with a context it speaks TLS as a server.
  init(
    _ world: SimulatedWorld, accepted peer: SimulatedPeer, _ pace: Pace, _ context: TLSContext?
  ) {
    self.world = world
    self.peer = peer
    self.pace = pace
    isTLS = context != nil
    if let context { tls = TLSSession(context: context) }
    peer.onEvent = { [unowned self] _, event in heard(event) }
  }

  /// A line to somewhere; with a context it speaks TLS.
  init(
    _ world: SimulatedWorld, to address: SocketAddress, _ pace: Pace, _ context: TLSClientContext?,
    host: String = "sim.example", ticket: ClientTicket? = nil
  ) {
    self.world = world
    self.pace = pace
    isTLS = context != nil
    if let context {
      tls = TLSSession(client: context, host: host)
      if let ticket { tls!.offer(ticket) }
    }
    let peer = world.connect(to: address)
    self.peer = peer
    peer.onEvent = { [unowned self] _, event in heard(event) }
  }

  func ticket() -> ClientTicket? { isSecure ? tls!.makeTicket() : nil }
  var hasResumed: Bool { isSecure && tls!.hasResumed() }
  /// True when everything that was written is with the network.
  var isDrained: Bool { early.isEmpty && sent == outgoing.count }

  /// True once a TLS handshake is complete.
  var speaksTLS: Bool { isSecure }
  /// True when nothing more is read: what comes fills the network.
  var isDeaf = false

  // MARK: What the speaker does

  /// Says KeyUpdate, if the session is one of TLS 1.3.
  func updateKeys() {
    guard !isOver, isSecure else { return }
    let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 16)
    defer { area.deallocate() }
    put(ArraySlice(area[..<tls!.requestKeyUpdate(output: area)]))
  }

  /// Puts bytes where records should be.
  func writeRaw(_ bytes: [UInt8]) {
    guard !isOver else { return }
    put(bytes[...])
  }

  func write(_ bytes: [UInt8]) {
    guard !isOver, !finishing else { return }
    guard isTLS else { return put(bytes[...]) }
    if isSecure { seal(bytes) } else { early += bytes }
  }

  /// No more will be written. With TLS it says so first.
  func finish() {
    guard !isOver, !finishing else { return }
    finishing = true
    flush()
  }

  func close() {
    guard !isOver else { return }
    isOver = true
    peer?.close()
    peer = nil
  }

  func reset() {
    guard !isOver else { return }
    isOver = true
    peer?.reset()
    peer = nil
  }

  func vanish() {
    guard !isOver else { return }
    isOver = true
    peer?.vanish()
    peer = nil
  }

  // MARK: Out

  private func seal(_ bytes: [UInt8]) {
    let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 20_000, alignment: 16)
    defer { area.deallocate() }
    var at = 0
    while at < bytes.count {
      let transfer = bytes.withUnsafeBytes {
        tls!.send(UnsafeRawBufferPointer(rebasing: $0[at...]), output: area)
      }
      at += transfer.consumed
      put(ArraySlice(area[..<transfer.output]))
      if case .failed = transfer.progress { return }
    }
  }

  private func put(_ bytes: ArraySlice<UInt8>) {
    if sent == outgoing.count {
      outgoing = []
      sent = 0
    }
    if let place = corruptAt, place >= written, place < written + bytes.count {
      var flipped = Array(bytes)
      flipped[place - written] ^= 0x20
      outgoing += flipped
    } else {
      outgoing += bytes
    }
    written += bytes.count
    flush()
    if let place = cutAt, written >= place, !isOver {
      reset()
      onEnd?(.reset)
    }
  }

  private func flush() {
    guard let peer, peer.isConnected, !writing, !isOver else { return }
    while sent < outgoing.count {
      let count = min(pace.writeBytes, outgoing.count - sent)
      let taken = peer.send(Array(outgoing[sent..<(sent + count)]))
      guard !isOver else { return }
      sent += taken
      progress += taken
      if taken < count { return }
      if pace.writeGap > 0 && sent < outgoing.count {
        writing = true
        world.after(pace.writeGap) { [weak self] in
          self?.writing = false
          self?.flush()
        }
        return
      }
    }
    if !early.isEmpty { return }
    onDrained?()
    guard finishing, !isOver, isDrained else { return }
    if !said {
      said = true
      if isSecure {
        let area = UnsafeMutableRawBufferPointer.allocate(byteCount: 512, alignment: 16)
        defer { area.deallocate() }
        // It comes back here when the network has taken it.
        return put(ArraySlice(area[..<tls!.close(output: area).output]))
      }
    }
    if !hasEnded {
      hasEnded = true
      peer.finishSending()
    }
  }

  // MARK: In

  private func heard(_ event: SimulatedPeer.Event) {
    guard !isOver else { return }
    switch event {
    case .connected:
      progress += 1
      if isTLS { decrypt([]) }
      onConnected?()
      if !isTLS { flush() }
      read()
    case .refused: end(.refused)
    case .writable: flush()
    case .readable, .ended: read()
    case .reset: end(.reset)
    }
  }

  private func end(_ why: End) {
    guard !isOver else { return }
    isOver = true
    peer?.close()
    peer = nil
    onEnd?(why)
  }

  private func read() {
    guard let peer, !reading, !isOver, !isDeaf else { return }
    let bytes = peer.receive(atMost: pace.readBytes)
    if bytes.isEmpty {
      if peer.hasEnded {
        // A TLS stream that ends without a word has been cut.
        end(isTLS && isSecure && !hasGoodbye ? .failed : .finished)
      }
      return
    }
    progress += bytes.count
    if isTLS { decrypt(bytes) } else { onBytes?(bytes) }
    guard !isOver else { return }
    if pace.readGap > 0 {
      reading = true
      world.after(pace.readGap) { [weak self] in
        self?.reading = false
        self?.read()
      }
    } else {
      read()
    }
  }

  private var hasGoodbye = false

  private func decrypt(_ bytes: [UInt8]) {
    let plaintext = UnsafeMutableRawBufferPointer.allocate(byteCount: 17_000, alignment: 16)
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: 20_000, alignment: 16)
    defer {
      plaintext.deallocate()
      output.deallocate()
    }
    var at = 0
    while !isOver {
      let transfer = bytes.withUnsafeBytes {
        tls!.receive(
          UnsafeRawBufferPointer(rebasing: $0[at...]), plaintext: plaintext, output: output)
      }
      at += transfer.consumed
      if transfer.output > 0 { put(ArraySlice(output[..<transfer.output])) }
      if transfer.handshakeCompleted {
        isSecure = true
        let waiting = early
        early = []
        if !waiting.isEmpty { seal(waiting) }
        onDrained?()
      }
      if transfer.plaintext > 0 && !isOver { onBytes?(Array(plaintext[..<transfer.plaintext])) }
      switch transfer.progress {
      case .wantsInput: return
      case .plaintextFull, .outputFull: continue
      case .peerClosed:
        hasGoodbye = true
        return
      case .failed:
        return end(.failed)
      }
    }
  }
}
