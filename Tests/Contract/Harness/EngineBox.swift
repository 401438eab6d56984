// An engine in a box, so that a test can hold "an engine" without knowing which.

import MillraceEngine

final class EngineBox<E: Engine & ~Copyable>: ContractEngine {
  var engine: E
  let transcript = Transcript()

  init(_ engine: consuming E) { self.engine = engine }

  var kind: EngineKind { engine.kind }
  var features: [ProbeFeature] { engine.features }
  var isLowOnBuffers: Bool { engine.isLowOnBuffers }
  var waker: Waker { engine.waker }
  var now: Int64 { engine.now }
  var counters: EngineCounters { engine.counters }
  var pollDescriptor: Int32 { engine.pollDescriptor }
  var mailbox: Mailbox { engine.mailbox }

  // MARK: Sockets

  func listen(_ address: SocketAddress, backlog: Int32, reusePort: Bool) throws -> Descriptor {
    try transcript.thrown(.listen) {
      try engine.listen(address, backlog: backlog, reusePort: reusePort)
    }
  }
  func accept(_ listener: Descriptor, _ token: Token) {
    transcript.began(.accept, token)
    engine.accept(listener, token)
  }
  func acceptOne(_ listener: Descriptor, into slot: Descriptor?, _ token: Token) {
    transcript.began(.acceptOne, token)
    engine.acceptOne(listener, into: slot, token)
  }
  func stopAccepting(_ listener: Descriptor) {
    engine.stopAccepting(listener)
  }
  func acceptNow(_ listener: Descriptor) -> Descriptor? {
    engine.acceptNow(listener)
  }
  func connect(_ address: SocketAddress, _ token: Token) throws -> Descriptor {
    transcript.began(.connect, token)
    return try transcript.thrown(.connect) { try engine.connect(address, token) }
  }
  func connect(_ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token) throws
    -> Descriptor
  {
    transcript.began(.connect, token)
    return try transcript.thrown(.connect) { try engine.connect(address, from: origin, token) }
  }
  func cancelConnect(_ socket: Descriptor) {
    engine.cancelConnect(socket)
  }
  func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token) {
    transcript.began(mode == .once ? .receiveOnce : .receive, token)
    engine.receive(socket, mode, token)
  }
  func stopReceiving(_ socket: Descriptor) {
    engine.stopReceiving(socket)
  }
  func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token
  ) {
    transcript.began(.send, token)
    engine.send(socket, frame, urgency, token)
  }
  func sendZeroCopy(_ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token) {
    transcript.began(.sendZeroCopy, token)
    engine.sendZeroCopy(socket, frame, token)
  }
  func sendProgress(_ socket: Descriptor) -> Int {
    engine.sendProgress(socket)
  }
  func expediteSends() {
    engine.expediteSends()
  }
  func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection) {
    engine.shutdown(socket, direction)
  }
  func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token) {
    transcript.began(.shutdown, token)
    engine.shutdown(socket, direction, token)
  }
  func resetOnClose(_ socket: Descriptor) {
    engine.resetOnClose(socket)
  }
  func close(_ descriptor: Descriptor) {
    engine.close(descriptor)
  }
  func close(_ descriptor: Descriptor, _ token: Token) {
    transcript.began(.close, token)
    engine.close(descriptor, token)
  }
  func splice(from input: Descriptor, to output: Descriptor, count: Int, _ token: Token) {
    transcript.began(.splice, token)
    engine.splice(from: input, to: output, count: count, token)
  }
  func pipe(capacity: Int) throws -> (output: Descriptor, input: Descriptor) {
    try transcript.thrown(.pipe) { try engine.pipe(capacity: capacity) }
  }
  func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod, _ token: Token
  ) {
    transcript.began(.relay, token)
    engine.relay(from: source, to: sink, count: count, method, token)
  }
  func stopRelay(from source: Descriptor) {
    engine.stopRelay(from: source)
  }
  func finishRelay(from source: Descriptor) {
    engine.finishRelay(from: source)
  }
  func peerAddress(_ socket: Descriptor) -> SocketAddress? {
    engine.peerAddress(socket)
  }
  func localAddress(_ socket: Descriptor) -> SocketAddress? {
    engine.localAddress(socket)
  }
  func isBroken(_ socket: Descriptor) -> Bool {
    engine.isBroken(socket)
  }
  func takeSlot() -> Descriptor? {
    engine.takeSlot()
  }
  func returnSlot(_ slot: Descriptor) {
    engine.returnSlot(slot)
  }
  func placeByCPU(_ listener: Descriptor, count: Int) -> Int32 {
    engine.placeByCPU(listener, count: count)
  }
  func surrender(_ socket: Descriptor) -> Int32 { engine.surrender(socket) }
  func adopt(_ number: Int32) throws -> Descriptor { try engine.adopt(number) }
  func adoptListener(_ number: Int32) throws -> Descriptor { try engine.adoptListener(number) }
  func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32 {
    engine.preferCPU(listener, cpu: cpu)
  }
  func incomingCPU(_ socket: Descriptor) -> Int? {
    engine.incomingCPU(socket)
  }
  func incomingQueue(_ socket: Descriptor) -> Int? {
    engine.incomingQueue(socket)
  }

  // MARK: Datagrams

  func bindDatagrams(_ address: SocketAddress, reusePort: Bool, coalesce: Bool) throws -> Descriptor
  {
    try transcript.thrown(.bindDatagrams) {
      try engine.bindDatagrams(address, reusePort: reusePort, coalesce: coalesce)
    }
  }
  func receiveDatagrams(_ socket: Descriptor, _ token: Token) {
    transcript.began(.receiveDatagrams, token)
    engine.receiveDatagrams(socket, token)
  }
  func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress, segmentSize: Int,
    _ token: Token
  ) {
    transcript.began(.sendDatagram, token)
    engine.sendDatagram(socket, frame, to: address, segmentSize: segmentSize, token)
  }
  func takeDatagram(_ completion: Completion) -> Datagram {
    engine.takeDatagram(completion)
  }

  // MARK: Files

  func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token) {
    transcript.began(.open, token)
    engine.open(path, flags: flags, mode: mode, token)
  }
  func open(_ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token) {
    transcript.began(.open, token)
    engine.open(path, flags: flags, mode: mode, into: slot, token)
  }
  func status(_ file: Descriptor, _ token: Token) {
    transcript.began(.status, token)
    engine.status(file, token)
  }
  func status(path: String, _ token: Token) {
    transcript.began(.status, token)
    engine.status(path: path, token)
  }
  func takeStatus(_ completion: Completion) -> FileStatus {
    engine.takeStatus(completion)
  }
  func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64, _ token: Token
  ) {
    transcript.began(.read, token)
    engine.read(file, into: buffer, count: count, offset: offset, token)
  }
  func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64, durable: Bool,
    _ token: Token
  ) {
    transcript.began(.write, token)
    engine.write(file, from: buffer, count: count, offset: offset, durable: durable, token)
  }
  func takeFileBuffer(_ completion: Completion) -> FileBuffer {
    engine.takeFileBuffer(completion)
  }
  func read(
    _ file: Descriptor, into buffers: consuming FileBufferList, offset: Int64, _ token: Token
  ) {
    transcript.began(.read, token)
    engine.read(file, into: buffers, offset: offset, token)
  }
  func write(
    _ file: Descriptor, from buffers: consuming FileBufferList, offset: Int64, durable: Bool,
    _ token: Token
  ) {
    transcript.began(.write, token)
    engine.write(file, from: buffers, offset: offset, durable: durable, token)
  }
  func takeFileBuffers(_ completion: Completion) -> FileBufferList {
    engine.takeFileBuffers(completion)
  }
  func registeredBuffer() -> FileBuffer? {
    engine.registeredBuffer()
  }
  func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token) {
    transcript.began(.synchronize, token)
    engine.synchronize(file, dataOnly: dataOnly, token)
  }
  func allocate(_ file: Descriptor, offset: Int64, length: Int64, _ token: Token) {
    allocate(file, offset: offset, length: length, keepsSize: false, token)
  }
  func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, keepsSize: Bool, _ token: Token
  ) {
    transcript.began(.allocate, token)
    engine.allocate(file, offset: offset, length: length, keepsSize: keepsSize, token)
  }
  func truncate(_ file: Descriptor, length: Int64, _ token: Token) {
    transcript.began(.truncate, token)
    engine.truncate(file, length: length, token)
  }
  func rename(_ from: String, to: String, _ token: Token) {
    transcript.began(.rename, token)
    engine.rename(from, to: to, token)
  }
  func unlink(_ path: String, _ token: Token) {
    transcript.began(.unlink, token)
    engine.unlink(path, token)
  }
  func closeFile(_ file: Descriptor, _ token: Token) {
    transcript.began(.closeFile, token)
    engine.closeFile(file, token)
  }

  // MARK: Control

  func beginChain() {
    engine.beginChain()
  }
  func endChain() {
    engine.endChain()
  }
  func timeout(at deadline: Int64, _ token: Token) {
    transcript.began(.timeout, token)
    engine.timeout(at: deadline, token)
  }
  func nop(_ token: Token) {
    transcript.began(.nop, token)
    engine.nop(token)
  }
  func cancel(_ token: Token) {
    engine.cancel(token)
  }
  func cancelAll(_ descriptor: Descriptor) {
    engine.cancelAll(descriptor)
  }
  func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token) {
    transcript.began(.poll, token)
    engine.poll(foreign, events, token)
  }
  func post(_ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token) {
    transcript.began(.post, token)
    engine.post(value, remoteToken, to: mailbox, token)
  }

  // MARK: Loop

  func takeSlice(_ completion: Completion) -> BufferSlice {
    engine.takeSlice(completion)
  }
  func lease() -> BufferSlice? {
    engine.lease()
  }
  func coldMemory(_ size: Int) -> BufferSlice {
    engine.coldMemory(size)
  }
  func frame() -> SendFrame? {
    engine.frame()
  }
  func wait(until deadline: Int64?) {
    engine.wait(until: deadline)
  }
  func wait(until deadline: Int64?, coalescing count: Int, before limit: Int64) {
    engine.wait(until: deadline, coalescing: count, before: limit)
  }
  func submit() {
    engine.submit()
  }
  func next() -> Completion? {
    engine.next()
  }
  func refreshClocks() {
    engine.refreshClocks()
  }
}
