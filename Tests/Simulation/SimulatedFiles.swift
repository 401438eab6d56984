// The simulated disk as recovery and verification see it. With a budget it stops in the middle: a
// recovery that is killed must be one that can be begun again.

import Glibc
import MillraceEngine

final class SimulatedFiles: FileSystem, @unchecked Sendable {
  // Sendable: a simulated world belongs to one thread, and so does this.
  let disk: SimulatedDisk
  /// Calls that change something and are still granted; nil: all.
  var budget: Int?
  /// Names before this one are not listed.
  private let first: String

  init(_ disk: SimulatedDisk, budget: Int? = nil, from first: String = "") {
    self.disk = disk
    self.budget = budget
    self.first = first
  }

  func spend(_ operation: String, _ path: String) throws(Errno) {
    guard let left = budget else { return }
    if left == 0 { throw Errno(code: EINTR, operation: operation, path: path) }
    budget = left - 1
  }

  func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile {
    let flags: Int32
    switch access {
    case .read: flags = O_RDONLY
    case .modify: flags = O_RDWR
    case .create: flags = O_RDWR | O_CREAT | O_TRUNC
    case .lock: flags = O_RDWR | O_CREAT
    }
    if access == .create { try spend("open", path) }
    switch disk.open(path, flags: flags, mode: 0o640) {
    case .failed(let code): throw Errno(code: -code, operation: "open", path: path)
    case .opened(let file):
      return BlockingFile(content: SimulatedFileContent(file, path, self), path: path)
    }
  }

  func synchronizeDirectory(_ path: String) throws(Errno) {
    try spend("fsync", path)
    guard case .opened(let directory) = disk.open(path, flags: O_RDONLY | O_DIRECTORY) else {
      throw Errno(code: ENOENT, operation: "open", path: path)
    }
    _ = directory.synchronize()
    directory.close()
  }

  func rename(_ from: String, to: String) throws(Errno) {
    try spend("rename", from)
    let result = disk.rename(from, to: to)
    if result < 0 { throw Errno(code: -result, operation: "rename", path: from) }
  }

  func unlink(_ path: String) throws(Errno) {
    try spend("unlink", path)
    let result = disk.unlink(path)
    if result < 0 { throw Errno(code: -result, operation: "unlink", path: path) }
  }

  func list(_ path: String) throws(Errno) -> [String] { disk.list(path).filter { $0 >= first } }
}

private final class SimulatedFileContent: FileContent, @unchecked Sendable {
  // Sendable: as above.
  private let file: SimulatedOpenFile
  private let path: String
  private let files: SimulatedFiles

  init(_ file: SimulatedOpenFile, _ path: String, _ files: SimulatedFiles) {
    self.file = file
    self.path = path
    self.files = files
  }

  deinit { file.close() }

  private func checked(_ result: Int, _ operation: String) throws(Errno) -> Int {
    if result < 0 { throw Errno(code: Int32(-result), operation: operation, path: path) }
    return result
  }

  func size() throws(Errno) -> Int { file.size }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Errno) -> Int {
    try checked(file.read(into: buffer, at: Int64(offset)), "pread")
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Errno) {
    var done = 0
    while done < bytes.count {
      try files.spend("pwrite", path)
      done += try checked(
        file.write(
          UnsafeRawBufferPointer(rebasing: bytes[done...]), at: Int64(offset + done),
          durable: false), "pwrite")
    }
  }

  func synchronize() throws(Errno) {
    try files.spend("fsync", path)
    _ = try checked(Int(file.synchronize()), "fsync")
  }

  func truncate(to length: Int) throws(Errno) {
    try files.spend("ftruncate", path)
    _ = try checked(Int(file.truncate(Int64(length))), "ftruncate")
  }
}
