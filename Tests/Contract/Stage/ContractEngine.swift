// What every test says to an engine, whichever it is. Only here do the tests know that there are
// two: everything else is written once and runs on both.

import CLinux
import MillraceEngine

protocol ContractEngine: AnyObject {
  var kind: EngineKind { get }
  func listen(_ address: SocketAddress, backlog: Int32, reusePort: Bool) throws -> Descriptor
  func accept(_ listener: Descriptor, _ token: Token)
  func stopAccepting(_ listener: Descriptor)
  func acceptNow(_ listener: Descriptor) -> Descriptor?
  func connect(_ address: SocketAddress, _ token: Token) throws -> Descriptor
  func cancelConnect(_ socket: Descriptor)
  func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token)
  func stopReceiving(_ socket: Descriptor)
  func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token)
  func sendProgress(_ socket: Descriptor) -> Int
  func expediteSends()
  func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection)
  func resetOnClose(_ socket: Descriptor)
  func close(_ descriptor: Descriptor)
  func peerAddress(_ socket: Descriptor) -> SocketAddress?
  func localAddress(_ socket: Descriptor) -> SocketAddress?
  func takeSlice(_ completion: Completion) -> BufferSlice
  func lease() -> BufferSlice?
  func coldMemory(_ size: Int) -> BufferSlice
  var isLowOnBuffers: Bool { get }
  func frame() -> SendFrame?
  func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token)
  func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token)
  func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token)
  func takeFileBuffer(_ completion: Completion) -> FileBuffer
  func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token)
  func allocate(_ file: Descriptor, offset: Int64, length: Int64, _ token: Token)
  func truncate(_ file: Descriptor, length: Int64, _ token: Token)
  func rename(_ from: String, to: String, _ token: Token)
  func unlink(_ path: String, _ token: Token)
  func closeFile(_ file: Descriptor, _ token: Token)
  func wait(until deadline: Int64?)
  func next() -> Completion?
  var waker: Waker { get }
  var now: Int64 { get }
  func refreshClocks()
  var counters: EngineCounters { get }
}

/// An engine in a box, so that a test can hold "an engine" without knowing which.
final class EngineBox<E: Engine & ~Copyable>: ContractEngine {
  var engine: E

  init(_ options: EngineOptions) throws { engine = try E(options) }

  var kind: EngineKind { engine.kind }
  func listen(_ address: SocketAddress, backlog: Int32, reusePort: Bool) throws -> Descriptor {
    try engine.listen(address, backlog: backlog, reusePort: reusePort)
  }
  func accept(_ listener: Descriptor, _ token: Token) { engine.accept(listener, token) }
  func stopAccepting(_ listener: Descriptor) { engine.stopAccepting(listener) }
  func acceptNow(_ listener: Descriptor) -> Descriptor? { engine.acceptNow(listener) }
  func connect(_ address: SocketAddress, _ token: Token) throws -> Descriptor {
    try engine.connect(address, token)
  }
  func cancelConnect(_ socket: Descriptor) { engine.cancelConnect(socket) }
  func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    engine.receive(socket, mode, token)
  }
  func stopReceiving(_ socket: Descriptor) { engine.stopReceiving(socket) }
  func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token
  ) { engine.send(socket, frame, urgency, token) }
  func sendProgress(_ socket: Descriptor) -> Int { engine.sendProgress(socket) }
  func expediteSends() { engine.expediteSends() }
  func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection) {
    engine.shutdown(socket, direction)
  }
  func resetOnClose(_ socket: Descriptor) { engine.resetOnClose(socket) }
  func close(_ descriptor: Descriptor) { engine.close(descriptor) }
  func peerAddress(_ socket: Descriptor) -> SocketAddress? { engine.peerAddress(socket) }
  func localAddress(_ socket: Descriptor) -> SocketAddress? { engine.localAddress(socket) }
  func takeSlice(_ completion: Completion) -> BufferSlice { engine.takeSlice(completion) }
  func lease() -> BufferSlice? { engine.lease() }
  func coldMemory(_ size: Int) -> BufferSlice { engine.coldMemory(size) }
  var isLowOnBuffers: Bool { engine.isLowOnBuffers }
  func frame() -> SendFrame? { engine.frame() }
  func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    engine.open(path, flags: flags, mode: mode, token)
  }
  func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token
  ) { engine.read(file, into: buffer, count: count, offset: offset, token) }
  func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token
  ) {
    engine.write(
      file, from: buffer, count: count, offset: offset, durable: durable, token)
  }
  func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    engine.takeFileBuffer(completion)
  }
  func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    engine.synchronize(file, dataOnly: dataOnly, token)
  }
  func allocate(_ file: Descriptor, offset: Int64, length: Int64, _ token: Token) {
    engine.allocate(file, offset: offset, length: length, token)
  }
  func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    engine.truncate(file, length: length, token)
  }
  func rename(_ from: String, to: String, _ token: Token) {
    engine.rename(from, to: to, token)
  }
  func unlink(_ path: String, _ token: Token) { engine.unlink(path, token) }
  func closeFile(_ file: Descriptor, _ token: Token) { engine.closeFile(file, token) }
  func wait(until deadline: Int64?) { engine.wait(until: deadline) }
  func next() -> Completion? { engine.next() }
  var waker: Waker { engine.waker }
  var now: Int64 { engine.now }
  func refreshClocks() { engine.refreshClocks() }
  var counters: EngineCounters { engine.counters }
}
