// BlockingFiles owns the blocking file calls that set-up, recovery and verification make before or
// beside the loops. It refuses to be used from a loop: nothing here is bounded in time. Every call
// restarts on EINTR and reports a failure as an Errno that names the call and the path.
//
// TRAP: (file) inside the loop `done` is below the count, so that there is memory.

import CLinux
import Glibc

/// A failed file call: what was tried, on what, and the kernel's answer.
public struct Errno: Error, Equatable, Sendable, CustomStringConvertible {
  /// The positive errno value.
  public let code: Int32
  /// The call, as in its man page.
  public let operation: String
  /// The path, or what is known of the file.
  public let path: String
  /// What is wrong where the errno does not say it, or nil.
  public let detail: String?

  /// A failure of `operation` on `path` with a positive errno.
  public init(code: Int32, operation: String, path: String, detail: String? = nil) {
    self.code = code
    self.operation = operation
    self.path = path
    self.detail = detail
  }

  public var description: String {
    if let detail { return "\(operation) \(path): \(detail)" }
    let text = strerror(code).map { String(cString: $0) } ?? "error \(code)"
    return "\(operation) \(path): \(text) (errno \(code))"
  }
}

/// An open file that is closed when it goes out of scope.
public struct BlockingFile: ~Copyable, Sendable {
  /// The number of the open file; -1 for one that is not the machine's.
  public let descriptor: Int32
  /// The path that it was opened by.
  public let path: String
  /// The content, where it is not the machine's.
  private let content: (any FileContent)?

  init(descriptor: Int32, path: String) {
    self.descriptor = descriptor
    self.path = path
    content = nil
  }

  /// A file of another file system than the machine's.
  public init(content: any FileContent, path: String) {
    descriptor = -1
    self.path = path
    self.content = content
  }

  deinit {
    if descriptor >= 0 { _ = close(descriptor) }
  }

  /// Size in bytes (fstat).
  public func size() throws(Errno) -> Int {
    if let content { return try content.size() }
    var status = stat()
    try check("fstat") { fstat(descriptor, &status) }
    return Int(status.st_size)
  }

  /// True if space is reserved for it beyond its end (fallocate with FALLOC_FL_KEEP_SIZE).
  public func hasReservedSpace() throws(Errno) -> Bool {
    if content != nil { return false }
    var status = stat()
    try check("fstat") { fstat(descriptor, &status) }
    // st_blocks counts 512 bytes. A file system may take up to a block of 64 KiB for any file.
    return Int(status.st_blocks) * 512 > Int(status.st_size) + (64 << 10)
  }

  /// Whether it is a regular file (fstat).
  func isRegular() throws(Errno) -> Bool {
    var status = stat()
    try check("fstat") { fstat(descriptor, &status) }
    return status.st_mode & S_IFMT == S_IFREG
  }

  /// Reads up to `buffer.count` bytes at `offset`; fewer only at the end of the file.
  public func read(
    into buffer: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(Errno) -> Int {
    if let content { return try content.read(into: buffer, at: offset) }
    var done = 0
    while done < buffer.count {
      let count = pread(
        descriptor, buffer.baseAddress! + done, buffer.count - done, off_t(offset + done))
      if count < 0 {
        if errno == EINTR { continue }
        throw Errno(code: errno, operation: "pread", path: path)
      }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// Writes all of `bytes` at `offset`.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
    if let content { return try content.write(bytes, at: offset) }
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        descriptor, bytes.baseAddress! + done, bytes.count - done, off_t(offset + done))
      if count < 0 {
        if errno == EINTR { continue }
        throw Errno(code: errno, operation: "pwrite", path: path)
      }
      // A regular file never takes zero bytes of a non-empty write without an error.
      if count == 0 { throw Errno(code: EIO, operation: "pwrite", path: path) }
      done += count
    }
  }

  /// fsync(2): content and metadata are on the device when this returns.
  public func synchronize() throws(Errno) {
    if let content { return try content.synchronize() }
    try check("fsync") { fsync(descriptor) }
  }

  /// ftruncate(2).
  public func truncate(to length: Int) throws(Errno) {
    if let content { return try content.truncate(to: length) }
    try check("ftruncate") { ftruncate(descriptor, off_t(length)) }
  }

  private func check(_ operation: String, _ call: () -> Int32) throws(Errno) {
    while call() < 0 {
      if errno == EINTR { continue }
      throw Errno(code: errno, operation: operation, path: path)
    }
  }
}

/// Proof that this process may use a directory: alone, but for processes before it that still finish what they
/// have begun. Files that belong together, of one number, are one process's. The kernel drops all of it when the
/// process ends.
public struct DirectoryLease: ~Copyable, Sendable {
  /// The directory that is held.
  public let directory: String
  /// Locked as a whole by the process that serves; nil where another one does.
  private var file: BlockingFile?
  /// One byte is locked for each number; nil where no other process can reach the directory.
  private let numbers: BlockingFile?
  /// The directory itself, open, so that names in it are looked up in it and nowhere else; nil where
  /// it is not the machine's.
  private let opened: BlockingFile?

  /// For a file system that no other process can reach, such as a simulated one: the given file is only
  /// kept open.
  public init(directory: String, file: consuming BlockingFile) {
    self.directory = directory
    self.file = consume file
    numbers = nil
    opened = nil
  }

  init(
    directory: String, opened: consuming BlockingFile, lock: consuming BlockingFile?,
    numbers: consuming BlockingFile
  ) {
    self.directory = directory
    self.file = consume lock
    self.numbers = consume numbers
    self.opened = consume opened
  }

  /// Takes the files of a number for this lease. - Returns: false if another process has them.
  public func take(number: Int) throws(Errno) -> Bool { try lock(number, isWanted: true) }

  /// Leaves them to others.
  public func leave(number: Int) throws(Errno) { _ = try lock(number, isWanted: false) }

  private func lock(_ number: Int, isWanted: Bool) throws(Errno) -> Bool {
    switch numbers {
    case .none: return true
    case .some(let numbers):
      let code = clinux_lock_byte(numbers.descriptor, Int64(number), isWanted ? 1 : 0)
      if code == 0 { return true }
      if code == -EAGAIN || code == -EACCES { return false }
      throw Errno(code: -code, operation: "fcntl F_OFD_SETLK", path: numbers.path)
    }
  }

  /// Another descriptor of the lock on the whole directory: a process that has it holds the directory beside
  /// this one. The caller's; nil where there is none.
  public func copyOfLock() -> Int32? {
    switch file {
    case .none: return nil
    case .some(let file):
      let copy = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 3)
      return copy < 0 ? nil : copy
    }
  }

  /// From here on another process may hold the directory; the numbers stay this one's.
  public mutating func leaveDirectory() { file = nil }

  /// What is in the directory, for as long as the lease is held: regular files of this user only, and
  /// no link is followed. nil where the directory is not the machine's.
  public var files: DirectoryFiles? {
    switch opened {
    case .some(let opened): DirectoryFiles(descriptor: opened.descriptor, directory: directory)
    case .none: nil
    }
  }

  /// True if the path still leads to the directory that is held.
  public func isStillThere() throws(Errno) -> Bool {
    switch opened {
    case .none: return true
    case .some(let opened):
      var held = stat()
      var now = stat()
      if fstat(opened.descriptor, &held) < 0 || stat(directory, &now) < 0 {
        throw Errno(code: errno, operation: "stat", path: directory)
      }
      return held.st_ino == now.st_ino && held.st_dev == now.st_dev
    }
  }
}

/// Blocking file calls for set-up, recovery and verification.
public enum BlockingFiles {
  /// What a file is opened for.
  public enum Access: Sendable {
    /// The file exists and is only read.
    case read
    /// The file exists and is read and written.
    case modify
    /// The file is created, or emptied if it exists; mode 0640.
    case create
    /// The file is created, or left as it is if it exists; mode 0640.
    case lock
  }

  /// Opens a file; it is closed when the result goes out of scope. What is to be read has to be a
  /// regular file, or a link to one.
  /// - Throws: `Errno` of open(2); EINVAL for something else than a regular file.
  public static func open(_ path: String, _ access: Access) throws(Errno) -> BlockingFile {
    let flags: Int32
    switch access {
    // Opening a FIFO to read it waits for a writer, fifo(7).
    case .read: flags = O_RDONLY | O_NONBLOCK
    case .modify: flags = O_RDWR
    case .create: flags = O_RDWR | O_CREAT | O_TRUNC
    case .lock: flags = O_RDWR | O_CREAT
    }
    let file = BlockingFile(descriptor: try descriptor(path, flags), path: path)
    if access == .read, try !file.isRegular() {
      throw Errno(code: EINVAL, operation: "open", path: path, detail: "not a regular file")
    }
    return file
  }

  /// Flushes a directory, so that creations, renames and removals in it survive a crash.
  public static func synchronizeDirectory(_ path: String) throws(Errno) {
    let file = BlockingFile(descriptor: try descriptor(path, O_RDONLY | O_DIRECTORY), path: path)
    try file.synchronize()
  }

  /// rename(2): replaces what is at `to`. Durable after `synchronizeDirectory`.
  public static func rename(_ from: String, to: String) throws(Errno) {
    if Glibc.rename(from, to) < 0 { throw Errno(code: errno, operation: "rename", path: from) }
  }

  /// unlink(2). Durable after `synchronizeDirectory`.
  public static func unlink(_ path: String) throws(Errno) {
    if Glibc.unlink(path) < 0 { throw Errno(code: errno, operation: "unlink", path: path) }
  }

  /// Creates one directory, mode 0750; an existing one is no error.
  public static func makeDirectory(_ path: String) throws(Errno) {
    if mkdir(path, 0o750) < 0, errno != EEXIST {
      throw Errno(code: errno, operation: "mkdir", path: path)
    }
  }

  /// The names in a directory in byte order, without `.` and `..`.
  public static func list(_ path: String) throws(Errno) -> [String] {
    guard let stream = opendir(path) else {
      throw Errno(code: errno, operation: "opendir", path: path)
    }
    return try names(stream, path)
  }

  /// Reads and closes a stream of a directory.
  static func names(_ stream: OpaquePointer, _ path: String) throws(Errno) -> [String] {
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw Errno(code: errno, operation: "readdir", path: path) }
        break
      }
      // SAFETY: d_name is a NUL-terminated array inside the entry, valid until the next readdir.
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    names.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    return names
  }

  /// Whether a process takes a directory as a whole.
  public enum Hold: Sendable {
    /// No other process may have it.
    case whole
    /// With the lock of the process that has it, of which this is a copy; as `whole` where it is another
    /// directory's.
    case besides(lock: Int32)
    /// Only files of numbers, of which no other process has any.
    case numbers
  }

  /// Takes the directory for this process (flock on `millrace.lock` inside it).
  /// - Throws: EWOULDBLOCK when another process holds it.
  public static func lease(
    directory: String, _ hold: Hold = .whole
  ) throws(Errno) -> DirectoryLease {
    let opened = BlockingFile(
      descriptor: try descriptor(directory, O_RDONLY | O_DIRECTORY), path: directory)
    let files = DirectoryFiles(descriptor: opened.descriptor, directory: directory)
    let path = directory + "/millrace.lock"
    let numbers = try files.open(directory + "/millrace.chains", .lock)
    if case .numbers = hold {
      return DirectoryLease(directory: directory, opened: opened, lock: nil, numbers: numbers)
    }
    let lock = try lock(try files.open(path, .lock), hold)
    return DirectoryLease(directory: directory, opened: opened, lock: lock, numbers: numbers)
  }

  private static func lock(
    _ file: consuming BlockingFile, _ hold: Hold
  ) throws(Errno) -> BlockingFile {
    if case .besides(let number) = hold {
      var (ours, theirs) = (stat(), stat())
      if fstat(file.descriptor, &ours) == 0, fstat(number, &theirs) == 0,
        ours.st_dev == theirs.st_dev, ours.st_ino == theirs.st_ino
      {
        // Of one open file: the lock lasts until the last descriptor is closed, flock(2).
        let copy = fcntl(number, F_DUPFD_CLOEXEC, 3)
        if copy >= 0 { return BlockingFile(descriptor: copy, path: file.path) }
      }
    }
    while flock(file.descriptor, LOCK_EX | LOCK_NB) < 0 {
      if errno == EINTR { continue }
      throw Errno(code: errno, operation: "flock", path: file.path)
    }
    return file
  }

  static func descriptor(_ path: String, _ flags: Int32) throws(Errno) -> Int32 {
    while true {
      let result = Glibc.open(path, flags | O_CLOEXEC, 0o640)
      if result >= 0 { return result }
      if errno == EINTR { continue }
      throw Errno(code: errno, operation: "open", path: path)
    }
  }
}
