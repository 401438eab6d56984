// The blocking file calls as a value, so that recovery and verification can be run on another disk
// than the machine's: a simulated one that has crashed. It owns no call itself; the machine's are in
// BlockingFiles.swift.

/// A file system for set-up, recovery and verification. Every call blocks; none is for a loop.
public protocol FileSystem: Sendable {
  /// Opens a file, open(2); throws the errno.
  func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile
  /// Flushes a directory, so that creations, renames and removals in it survive a crash.
  func synchronizeDirectory(_ path: String) throws(Errno)
  /// rename(2).
  func rename(_ from: String, to: String) throws(Errno)
  /// unlink(2).
  func unlink(_ path: String) throws(Errno)
  /// The names in a directory in byte order, without `.` and `..`.
  func list(_ path: String) throws(Errno) -> [String]
  /// Throws unless what has this name may be opened as a file of ours.
  func requireOwnFile(_ path: String) throws(Errno)
}

extension FileSystem {
  /// True where no other process can create files.
  public func requireOwnFile(_ path: String) throws(Errno) {}
}

/// The content of an open file that is not the machine's.
public protocol FileContent: AnyObject, Sendable {
  /// The file's length in bytes.
  func size() throws(Errno) -> Int
  /// Reads up to `buffer.count` bytes at `offset`; fewer only at the end of the file.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int
  /// Writes all of `bytes` at `offset`.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno)
  /// Makes what was written survive a crash, fsync(2).
  func synchronize() throws(Errno)
  /// Sets the length in bytes, ftruncate(2); what is added is zeros.
  func truncate(to length: Int) throws(Errno)
}

/// The file system of the machine.
public struct MachineFiles: FileSystem {
  /// The machine's files, as the process sees them.
  public init() {}

  public func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile {
    try BlockingFiles.open(path, access)
  }
  public func synchronizeDirectory(_ path: String) throws(Errno) {
    try BlockingFiles.synchronizeDirectory(path)
  }
  public func rename(_ from: String, to: String) throws(Errno) {
    try BlockingFiles.rename(from, to: to)
  }
  public func unlink(_ path: String) throws(Errno) { try BlockingFiles.unlink(path) }
  public func list(_ path: String) throws(Errno) -> [String] { try BlockingFiles.list(path) }
}
