// What every test says to an engine, whichever it is. Only here do the tests know that there are
// three: everything else is written once and runs on each. The box also tells the transcript what
// was asked for.

import MillraceEngine

protocol ContractEngine: AnyObject {
  var transcript: Transcript { get }
  var kind: EngineKind { get }
  var features: [ProbeFeature] { get }
  var isLowOnBuffers: Bool { get }
  var waker: Waker { get }
  var now: Int64 { get }
  var counters: EngineCounters { get }
  var pollDescriptor: Int32 { get }
  var mailbox: Mailbox { get }
  func listen(_ address: SocketAddress, backlog: Int32, reusePort: Bool) throws -> Descriptor
  func accept(_ listener: Descriptor, _ token: Token)
  func acceptOne(_ listener: Descriptor, into slot: Descriptor?, _ token: Token)
  func stopAccepting(_ listener: Descriptor)
  func acceptNow(_ listener: Descriptor) -> Descriptor?
  func connect(_ address: SocketAddress, _ token: Token) throws -> Descriptor
  func connect(_ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token) throws
    -> Descriptor
  func cancelConnect(_ socket: Descriptor)
  func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token)
  func stopReceiving(_ socket: Descriptor)
  func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token)
  func sendZeroCopy(_ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token)
  func sendProgress(_ socket: Descriptor) -> Int
  func expediteSends()
  func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection)
  func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token)
  func resetOnClose(_ socket: Descriptor)
  func close(_ descriptor: Descriptor)
  func close(_ descriptor: Descriptor, _ token: Token)
  func splice(from input: Descriptor, to output: Descriptor, count: Int, _ token: Token)
  func pipe(capacity: Int) throws -> (output: Descriptor, input: Descriptor)
  func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod, _ token: Token)
  func stopRelay(from source: Descriptor)
  func finishRelay(from source: Descriptor)
  func peerAddress(_ socket: Descriptor) -> SocketAddress?
  func localAddress(_ socket: Descriptor) -> SocketAddress?
  func isBroken(_ socket: Descriptor) -> Bool
  func takeSlot() -> Descriptor?
  func returnSlot(_ slot: Descriptor)
  func placeByCPU(_ listener: Descriptor, count: Int) -> Int32
  func surrender(_ socket: Descriptor) -> Int32
  func adopt(_ number: Int32) throws -> Descriptor
  func adoptListener(_ number: Int32) throws -> Descriptor
  func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32
  func incomingCPU(_ socket: Descriptor) -> Int?
  func incomingQueue(_ socket: Descriptor) -> Int?

  func bindDatagrams(_ address: SocketAddress, reusePort: Bool, coalesce: Bool) throws -> Descriptor
  func receiveDatagrams(_ socket: Descriptor, _ token: Token)
  func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress, segmentSize: Int,
    _ token: Token)
  func takeDatagram(_ completion: Completion) -> Datagram

  func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token)
  func open(_ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token)
  func status(_ file: Descriptor, _ token: Token)
  func status(path: String, _ token: Token)
  func takeStatus(_ completion: Completion) -> FileStatus
  func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64, _ token: Token
  )
  func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64, durable: Bool,
    _ token: Token)
  func takeFileBuffer(_ completion: Completion) -> FileBuffer
  func read(
    _ file: Descriptor, into buffers: consuming FileBufferList, offset: Int64, _ token: Token)
  func write(
    _ file: Descriptor, from buffers: consuming FileBufferList, offset: Int64, durable: Bool,
    _ token: Token)
  func takeFileBuffers(_ completion: Completion) -> FileBufferList
  func registeredBuffer() -> FileBuffer?
  func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token)
  func allocate(_ file: Descriptor, offset: Int64, length: Int64, _ token: Token)
  func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, keepsSize: Bool, _ token: Token)
  func truncate(_ file: Descriptor, length: Int64, _ token: Token)
  func rename(_ from: String, to: String, _ token: Token)
  func unlink(_ path: String, _ token: Token)
  func closeFile(_ file: Descriptor, _ token: Token)

  func beginChain()
  func endChain()
  func timeout(at deadline: Int64, _ token: Token)
  func nop(_ token: Token)
  func cancel(_ token: Token)
  func cancelAll(_ descriptor: Descriptor)
  func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token)
  func post(_ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token)

  func takeSlice(_ completion: Completion) -> BufferSlice
  func lease() -> BufferSlice?
  func coldMemory(_ size: Int) -> BufferSlice
  func frame() -> SendFrame?
  func wait(until deadline: Int64?)
  func wait(until deadline: Int64?, coalescing count: Int, before limit: Int64)
  func submit()
  func next() -> Completion?
  func refreshClocks()
}
