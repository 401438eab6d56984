// JournalOperation is what a journal asks its driver to do: one value per file call, run by
// io_uring or by a thread pool. Each lane has at most one operation out, and each operation has
// exactly one completion, which gives the buffer of a write back.

public import MillraceEngine

/// The independent sequences of file operations of a journal.
public enum JournalLane: Int, Sendable, CaseIterable {
  /// Writes batches.
  case commit
  /// Creates the next segments and reserves their space.
  case prepare
  /// Cuts and closes segments that are done with.
  case retire
  /// Prefills the active segment ahead of the writer.
  case fill
  /// Looks whether the log is still where it was.
  case watch
}

/// One file operation. Paths belong to the journal and stay valid until the operation's completion.
public enum JournalOperation: ~Copyable {
  /// open(2). The completion's result is the descriptor.
  case open(path: UnsafePointer<CChar>, flags: Int32, mode: UInt32)
  /// fallocate(2) with FALLOC_FL_KEEP_SIZE.
  case allocate(file: Int32, offset: Int, length: Int)
  /// pwrite of the buffer's first `count` bytes; with RWF_DSYNC if `durable`. The result is the
  /// bytes written.
  case write(file: Int32, buffer: FileBuffer, count: Int, offset: Int, durable: Bool)
  /// fsync(2), or fdatasync(2) if `dataOnly`.
  case sync(file: Int32, dataOnly: Bool)
  /// ftruncate(2).
  case truncate(file: Int32, length: Int)
  /// rename(2).
  case rename(from: UnsafePointer<CChar>, to: UnsafePointer<CChar>)
  /// unlink(2).
  case unlink(path: UnsafePointer<CChar>)
  /// close(2).
  case close(file: Int32)
  /// statx(2) of a path, links followed. The completion brings the status.
  case status(path: UnsafePointer<CChar>)
}
