// Operations of the seam that this engine does not do yet.

extension Uring {
  public mutating func acceptOne(
    _ listener: Descriptor, into slot: Descriptor?, _ token: Token
  ) { pending() }
  public mutating func connect(
    _ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token
  ) throws(SystemFailure) -> Descriptor { pending() }
  public mutating func sendZeroCopy(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token
  ) { pending() }
  public mutating func shutdown(
    _ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token
  ) { pending() }
  public mutating func close(_ descriptor: Descriptor, _ token: Token) { pending() }
  public mutating func splice(
    from input: Descriptor, to output: Descriptor, count: Int, _ token: Token
  ) { pending() }
  public mutating func pipe(
    capacity: Int
  ) throws(SystemFailure) -> (output: Descriptor, input: Descriptor) { pending() }
  public mutating func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod,
    _ token: Token
  ) { pending() }
  public mutating func stopRelay(from source: Descriptor) { pending() }
  public mutating func takeSlot() -> Descriptor? { pending() }
  public mutating func returnSlot(_ slot: Descriptor) { pending() }
  public mutating func placeByCPU(_ listener: Descriptor, count: Int) -> Int32 { pending() }
  public mutating func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32 { pending() }
  public func incomingCPU(_ socket: Descriptor) -> Int? { pending() }
  public func incomingQueue(_ socket: Descriptor) -> Int? { pending() }
  public mutating func bindDatagrams(
    _ address: SocketAddress, reusePort: Bool, coalesce: Bool
  ) throws(SystemFailure) -> Descriptor { pending() }
  public mutating func receiveDatagrams(_ socket: Descriptor, _ token: Token) { pending() }
  public mutating func sendDatagram(
    _ socket: Descriptor, _ frame: consuming SendFrame, to address: SocketAddress,
    segmentSize: Int, _ token: Token
  ) { pending() }
  public mutating func takeDatagram(_ completion: Completion) -> Datagram { pending() }
  public mutating func open(
    _ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token
  ) { pending() }
  public mutating func status(_ file: Descriptor, _ token: Token) { pending() }
  public mutating func status(path: String, _ token: Token) { pending() }
  public mutating func takeStatus(_ completion: Completion) -> FileStatus { pending() }
  public mutating func read(
    _ file: Descriptor, into buffers: consuming FileBufferList, offset: Int64, _ token: Token
  ) { pending() }
  public mutating func write(
    _ file: Descriptor, from buffers: consuming FileBufferList, offset: Int64, durable: Bool,
    _ token: Token
  ) { pending() }
  public mutating func takeFileBuffers(_ completion: Completion) -> FileBufferList { pending() }
  public mutating func beginChain() { pending() }
  public mutating func endChain() { pending() }
  public mutating func timeout(at deadline: Int64, _ token: Token) { pending() }
  public mutating func nop(_ token: Token) { pending() }
  public mutating func cancel(_ token: Token) { pending() }
  public mutating func cancelAll(_ descriptor: Descriptor) { pending() }
  public mutating func poll(_ foreign: Int32, _ events: PollEvents, _ token: Token) { pending() }
  public var pollDescriptor: Int32 { pending() }
  public var mailbox: Mailbox { pending() }
  public mutating func post(
    _ value: Int32, _ remoteToken: Token, to mailbox: Mailbox, _ token: Token
  ) { pending() }
}

func pending() -> Never { preconditionFailure("not done by this engine yet") }
