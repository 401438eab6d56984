// What an engine does with files. On io_uring each is an entry of the ring; on epoll a small bounded
// set of threads makes the calls, because no kernel tells when a file is ready.

/// Operations on files. At most `EngineOptions.fileOperations` may be in flight.
public protocol FileOperations: ~Copyable {
  /// Opens a file: the completion's result is its descriptor, or a negated errno.
  mutating func open(_ path: String, flags: Int32, mode: UInt32, _ token: Token)
  /// Opens a file into a direct slot that `takeSlot` gave: the completion's result is 0 or a
  /// negated errno. May be a step of a chain.
  mutating func open(
    _ path: String, flags: Int32, mode: UInt32, into slot: Descriptor, _ token: Token)
  /// statx(2) of an open file: a completion without an error must be redeemed with `takeStatus`.
  /// A direct descriptor ends with EBADF: in a chain, ask by path. May be a step of a chain.
  mutating func status(_ file: Descriptor, _ token: Token)
  /// statx(2) of a path, symbolic links followed.
  mutating func status(path: String, _ token: Token)
  /// What a completion with `hasStatus` brought. Once.
  mutating func takeStatus(_ completion: Completion) -> FileStatus
  /// Reads at an offset; the completion gives the buffer back and has the byte count, fewer at the
  /// end of the file. In a chain a short read breaks it.
  mutating func read(
    _ file: Descriptor, into buffer: consuming FileBuffer, count: Int, offset: Int64,
    _ token: Token)
  /// Writes at an offset; `durable` makes the data durable before completion (RWF_DSYNC). In a
  /// chain a short write breaks it.
  mutating func write(
    _ file: Descriptor, from buffer: consuming FileBuffer, count: Int, offset: Int64,
    durable: Bool, _ token: Token)
  /// The buffer of a completed read or write. Once.
  mutating func takeFileBuffer(_ completion: Completion) -> FileBuffer
  /// preadv(2) into several buffers, each filled before the next.
  mutating func read(
    _ file: Descriptor, into buffers: consuming FileBufferList, offset: Int64, _ token: Token)
  /// pwritev2(2) from several buffers, in order.
  mutating func write(
    _ file: Descriptor, from buffers: consuming FileBufferList, offset: Int64, durable: Bool,
    _ token: Token)
  /// The buffers of a completed vectored read or write. Once.
  mutating func takeFileBuffers(_ completion: Completion) -> FileBufferList
  /// A buffer of the engine's registered memory (`EngineOptions.registeredBuffers` of
  /// `registeredBufferSize` bytes, aligned for O_DIRECT), or nil (counted) when all are out. The
  /// kernel need not map its pages for each operation (IORING_REGISTER_BUFFERS). It goes back when
  /// it ends, on the engine's own thread.
  mutating func registeredBuffer() -> FileBuffer?
  /// fsync(2), or fdatasync(2) with `dataOnly`: what was written is durable when it completes with 0.
  /// May be a step of a chain.
  mutating func synchronize(_ file: Descriptor, dataOnly: Bool, _ token: Token)
  /// fallocate(2): reserves `length` bytes at `offset`. The file becomes longer if need be, or, with
  /// `keepsSize` (FALLOC_FL_KEEP_SIZE), stays as long as it is: what lies beyond its end is reserved
  /// for later writes. Result 0, or ENOSPC, EOPNOTSUPP, ….
  mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, keepsSize: Bool, _ token: Token)
  /// ftruncate(2): sets the length in bytes. Result 0 or a negated errno.
  mutating func truncate(_ file: Descriptor, length: Int64, _ token: Token)
  /// rename(2): replaces what is at `to`. Result 0 or a negated errno.
  mutating func rename(_ from: String, to: String, _ token: Token)
  /// unlink(2). Result 0 or a negated errno.
  mutating func unlink(_ path: String, _ token: Token)
  /// Closes a file that has no operation in flight. Result 0, or an errno that a delayed write left.
  mutating func closeFile(_ file: Descriptor, _ token: Token)
}

extension FileOperations where Self: ~Copyable {
  /// fallocate(2), mode 0: reserves `length` bytes at `offset`, and makes the file longer if need be.
  public mutating func allocate(
    _ file: Descriptor, offset: Int64, length: Int64, _ token: Token
  ) {
    allocate(file, offset: offset, length: length, keepsSize: false, token)
  }
}

/// What statx(2) says of a file.
public struct FileStatus: Sendable, Equatable {
  /// Type and permissions, S_IFMT and below.
  public var mode: UInt16
  /// Bytes.
  public var size: Int64
  /// Blocks of 512 bytes that are allocated.
  public var blocks: Int64
  /// Hard links.
  public var links: UInt32
  /// The number of the file in its file system.
  public var inode: UInt64
  /// Last change of the content, nanoseconds since the epoch.
  public var modifiedNanoseconds: Int64
  /// Alignment of offset and length for O_DIRECT (STATX_DIOALIGN, 6.1); 0: not told.
  public var directAlignment: UInt32

  /// A status of the given parts: for worlds without a disk.
  public init(
    mode: UInt16 = 0, size: Int64 = 0, blocks: Int64 = 0, links: UInt32 = 0, inode: UInt64 = 0,
    modifiedNanoseconds: Int64 = 0, directAlignment: UInt32 = 0
  ) {
    self.mode = mode
    self.size = size
    self.blocks = blocks
    self.links = links
    self.inode = inode
    self.modifiedNanoseconds = modifiedNanoseconds
    self.directAlignment = directAlignment
  }
}
