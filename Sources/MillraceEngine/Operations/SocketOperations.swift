// What an engine does with stream sockets. The meaning of each operation stands here once; each
// engine's folder has a file of the same family that does it.

/// What a receive asks for.
public enum ReceiveMode: Sendable {
  /// Stays armed; each arrival is reported in a small hot buffer, until end of stream, an error
  /// or `stopReceiving`.
  case stream
  /// One arrival in a large buffer, then the operation has ended: the pace of a body is set by
  /// whoever asks again.
  case once
}

/// When the success of a send must be reported.
public enum SendUrgency: Sendable {
  /// With the next event, whatever it is: nothing waits for this send. Costs no completion of
  /// the kernel.
  case quiet
  /// As soon as it has happened.
  case awaited
}

/// Which side of a connection shutdown(2) ends.
public enum ShutdownDirection: Sendable {
  /// SHUT_RD: a receive ends with 0 as soon as what has arrived is read.
  case receive
  /// SHUT_WR: the peer sees the end of the stream.
  case send
  /// SHUT_RDWR.
  case both
}

/// Operations on listening and connected stream sockets (TCP and UNIX).
public protocol SocketOperations: ~Copyable {
  /// A listening socket, bound with SO_REUSEADDR and, for IP addresses, SO_REUSEPORT if asked.
  mutating func listen(
    _ address: SocketAddress, backlog: Int32, reusePort: Bool
  ) throws(SystemFailure) -> Descriptor
  /// Accepts until `stopAccepting` or an error: each completion's result is a new descriptor.
  mutating func accept(_ listener: Descriptor, _ token: Token)
  /// Accepts one connection. The completion's result is a new descriptor, or with `slot` (a
  /// direct one that `takeSlot` gave) 0: the connection is then in the slot.
  ///
  /// May be a step of a chain. Ended by `stopAccepting`, as the other accept is.
  mutating func acceptOne(_ listener: Descriptor, into slot: Descriptor?, _ token: Token)
  /// Ends an accept; its terminal completion is ECANCELED. Connections that arrive first are
  /// still reported.
  mutating func stopAccepting(_ listener: Descriptor)
  /// Takes one waiting connection without waiting, or nil: to empty a listener before closing.
  mutating func acceptNow(_ listener: Descriptor) -> Descriptor?
  /// Starts a connection. The descriptor is valid at once; the completion says how it went.
  mutating func connect(_ address: SocketAddress, _ token: Token) throws(SystemFailure)
    -> Descriptor
  /// Starts a connection from a local address of the caller's choosing.
  mutating func connect(
    _ address: SocketAddress, from origin: ConnectionOrigin, _ token: Token
  ) throws(SystemFailure) -> Descriptor
  /// Ends a connect; its terminal completion is ECANCELED unless it was faster.
  mutating func cancelConnect(_ socket: Descriptor)
  /// Receives bytes; at most one receive is in flight per socket. `.once` may be a step of a chain.
  mutating func receive(_ socket: Descriptor, _ mode: ReceiveMode, _ token: Token)
  /// Ends a receive; its terminal completion is ECANCELED unless it was faster. Bytes that arrive
  /// first are still reported.
  mutating func stopReceiving(_ socket: Descriptor)
  /// Sends the whole frame. Its completion is reported before bytes that were received after it
  /// had left. The completion's result is the byte count (capped at Int32.max) or a
  /// negated errno; a short send never shows.
  ///
  /// May be a step of a chain; it is then an awaited one.
  mutating func send(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ urgency: SendUrgency, _ token: Token)
  /// Sends the whole frame without copying it into the kernel (IORING_OP_SENDMSG_ZC, 6.1), where
  /// the engine and the socket can and the frame has at least `EngineOptions.zeroCopyThreshold`
  /// bytes; copies otherwise, and where buffers are few (`isLowOnBuffers`): what is not copied is
  /// held until the peer has acknowledged it.
  ///
  /// Two completions: the first, not terminal, has the result of `send`; the terminal one says
  /// that the frame's memory is free again, with result 0 if nothing was copied, 1 if it was
  /// (IORING_NOTIF_USAGE_ZC_COPIED). After an error the first completion is the terminal one.
  mutating func sendZeroCopy(
    _ socket: Descriptor, _ frame: consuming SendFrame, _ token: Token)
  /// How far the send in flight has got: bytes that the kernel took, less those that the peer has
  /// not acknowledged (SIOCOUTQ, tcp(7)). Grows while the peer reads, however slowly; negative at
  /// first. A system call: for a deadline that has passed, not for every turn. 0 without a send.
  func sendProgress(_ socket: Descriptor) -> Int
  /// Whether the connection has broken: the peer has reset it, and nothing has been told so yet
  /// (POLLERR, poll(2)). For a connection of which nothing is read for a while: the end of its stream
  /// stays behind the bytes that were not read, a reset does not. A system call: for every now and
  /// then. False for a direct descriptor.
  func isBroken(_ socket: Descriptor) -> Bool
  /// Makes the completion of a quiet send come with this turn.
  mutating func expediteSends()
  /// shutdown(2), at once, after the first try of a send that was submitted before it. Errors are
  /// of no interest to anybody: the socket is about to go. Not for direct descriptors.
  mutating func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection)
  /// shutdown(2) as an operation: its completion has 0 or a negated errno. May be a step of a
  /// chain.
  mutating func shutdown(_ socket: Descriptor, _ direction: ShutdownDirection, _ token: Token)
  /// Makes the following close send a reset, so that a peer sees a cut-off answer as cut off.
  mutating func resetOnClose(_ socket: Descriptor)
  /// Closes a descriptor that has no operation in flight. Reports nothing. Of a number that is not
  /// open it traps: the number may be somebody else's. Files end with `closeFile`.
  mutating func close(_ descriptor: Descriptor)
  /// Closes a descriptor as an operation: its completion has 0 or a negated errno, EBADF if it is
  /// not open in this engine, and then nothing is closed. When it comes,
  /// the number may be somebody else's already. May be a step of a chain, after steps on the same
  /// descriptor; a direct slot is free again.
  ///
  /// In a chain that breaks before this step, the descriptor stays open and the caller's.
  mutating func close(_ descriptor: Descriptor, _ token: Token)
  /// Moves up to `count` bytes between a pipe and another descriptor, splice(2): the completion's
  /// result is what was moved, 0 at the end of the input. One side must be a pipe. Waits where the
  /// input is empty or the output full.
  mutating func splice(
    from input: Descriptor, to output: Descriptor, count: Int, _ token: Token)
  /// A pipe for `splice`: what is written to `input` is read from `output`, pipe2(2). Its capacity
  /// is raised to `capacity` bytes where the kernel allows it (F_SETPIPE_SZ).
  mutating func pipe(capacity: Int) throws(SystemFailure) -> (output: Descriptor, input: Descriptor)
  /// Moves exactly `count` bytes from one connected socket to another without showing them to the
  /// caller: through a pipe by splice(2), or by copying, as `RelayMethod` says. No receive of
  /// `from` and no send of `to` may be in flight; neither may be a direct descriptor. All of
  /// `EngineOptions.relays` in use: ENOBUFS (counted). The process ignores SIGPIPE from the first
  /// relay or splice on if it has not said what it wants of it by then: splice(2) has no
  /// MSG_NOSIGNAL.
  ///
  /// A `count` of `Int.max` has no end but the input's. A relay with an end tells the kernel while
  /// more is to follow (SPLICE_F_MORE); one without does not, so that its last bytes never wait.
  ///
  /// Each completion that is not terminal says how many bytes have left since the last one
  /// (progress for timeouts); the terminal one has how many left since then, fewer than `count`
  /// in all if the input ended first, or a negated errno, of the sink where `Completion.isOfSink` says so;
  /// all that has left was reported before an errno. Ended early by `stopRelay` and `finishRelay`.
  mutating func relay(
    from source: Descriptor, to sink: Descriptor, count: Int, _ method: RelayMethod,
    _ token: Token)
  /// Ends a relay; its terminal completion is ECANCELED unless it was faster. Bytes that were read
  /// and not yet written are lost: for connections that are about to be closed.
  mutating func stopRelay(from source: Descriptor)
  /// Ends a relay and loses nothing: no more is read, and once what was read has left its terminal
  /// completion is ECANCELED, unless it had ended before. The source may then be received from.
  /// As long as the sink takes nothing, the relay goes on; `stopRelay` still ends it at once.
  mutating func finishRelay(from source: Descriptor)
  /// Who is at the other end of a connection. Of a connection that was accepted by number `Epoll`
  /// knows it from accept(2) itself, and for the connection's whole life; elsewhere the kernel is
  /// asked (getpeername(2)), which has forgotten it once the peer has reset the connection: nil. nil
  /// also for a direct descriptor, which other system calls cannot use.
  func peerAddress(_ socket: Descriptor) -> SocketAddress?
  /// nil for a direct descriptor, which other system calls cannot use.
  func localAddress(_ socket: Descriptor) -> SocketAddress?

  // MARK: Direct descriptors

  /// A free direct slot: a descriptor whose number is known before anything is open in it, so that
  /// the steps of a chain can name it. nil (counted) when all `EngineOptions.directDescriptors`
  /// are taken. `close` frees the slot, and so does `returnSlot` while nothing is open in it.
  mutating func takeSlot() -> Descriptor?
  /// Gives back a slot in which nothing is open.
  mutating func returnSlot(_ slot: Descriptor)

  // MARK: Moving sockets

  /// Gives a connected stream socket up without closing it: from here on it is the caller's, who
  /// closes it or has another engine of the same kind `adopt` it. Bytes that have arrived and
  /// were not received go with it.
  ///
  /// - Precondition: no operation of the socket is in flight, and it is neither a listener, nor a
  ///   datagram socket, nor the end of a pipe, nor a direct descriptor.
  /// - Returns: the number of the descriptor.
  mutating func surrender(_ socket: Descriptor) -> Int32
  /// Takes over a connected stream socket that the caller owns: one that another engine gave up,
  /// of a socketpair(2), or inherited. Sets or clears O_NONBLOCK as this engine needs it, for every
  /// duplicate of the descriptor too.
  ///
  /// - Precondition: no socket or pipe of this engine's is open under the number: what an engine has
  ///   is not the caller's to hand over, and operations may be in flight on it.
  /// - Throws: EMFILE beyond `EngineOptions.descriptorLimit`, EBADF, ENOTSOCK, or ENOTCONN where it
  ///   is not connected; the descriptor then stays the caller's.
  mutating func adopt(_ number: Int32) throws(SystemFailure) -> Descriptor
  /// Takes over a stream socket that listens and that the caller owns: one that `ListeningSocket` opened, or that
  /// was inherited. Sets or clears O_NONBLOCK as `adopt` does.
  ///
  /// - Precondition: as that of `adopt`.
  /// - Throws: EMFILE beyond `EngineOptions.descriptorLimit`, EBADF, ENOTSOCK, or EINVAL where it does not
  ///   listen; EOPNOTSUPP in a simulated world. The descriptor is closed then.
  mutating func adoptListener(_ number: Int32) throws(SystemFailure) -> Descriptor

  // MARK: Placement

  /// Has the kernel give each new connection of a SO_REUSEPORT group to the listener whose position
  /// in the group is the CPU that handled the packet, modulo `count` (SO_ATTACH_REUSEPORT_CBPF,
  /// 4.6; positions are in the order of binding). Once per group suffices.
  /// - Returns: 0 or a negated errno.
  mutating func placeByCPU(_ listener: Descriptor, count: Int) -> Int32
  /// Prefers this listener of its SO_REUSEPORT group for packets that `cpu` handles
  /// (SO_INCOMING_CPU, 4.4; without effect on groups from 4.6 until 6.2, and 6.1.x before its fix).
  /// - Returns: 0 or a negated errno.
  mutating func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32
  /// The CPU that handled the socket's last packet (SO_INCOMING_CPU, 3.19), or nil.
  func incomingCPU(_ socket: Descriptor) -> Int?
  /// The NAPI instance of the socket's last packet (SO_INCOMING_NAPI_ID, 4.12); nil where it has
  /// none, as on loopback.
  func incomingQueue(_ socket: Descriptor) -> Int?
}

/// Where an outgoing connection comes from.
public struct ConnectionOrigin: Sendable {
  /// Bound before connecting with IP_BIND_ADDRESS_NO_PORT (4.2), so that the kernel chooses the
  /// port at connect(2) and ports are shared between different destinations. nil: the kernel's.
  public var address: SocketAddress?
  /// First and last port that the kernel may choose (IP_LOCAL_PORT_RANGE, 6.3); nil: the host's
  /// range. Ignored by kernels without it.
  public var ports: ClosedRange<UInt16>?

  /// An origin; what is nil is left to the kernel.
  public init(address: SocketAddress? = nil, ports: ClosedRange<UInt16>? = nil) {
    self.address = address
    self.ports = ports
  }
}

/// How `relay` moves bytes.
public enum RelayMethod: Sendable, CaseIterable {
  /// The engine chooses by `count`: see docs/performance.md for the measurement.
  case automatic
  /// Through a buffer of the relay's own, 128 KiB that stay with its slot: `EngineOptions.relays`
  /// bounds them.
  case copy
  /// Through a pipe, splice(2).
  case splice
}
