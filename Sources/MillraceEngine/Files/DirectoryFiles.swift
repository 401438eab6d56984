// DirectoryFiles are the blocking file calls inside one directory that is held open. A name is looked
// up in that directory and nowhere else, no symbolic link is followed, nothing that could block or be
// another program's is opened: regular files of this user, or of the directory's owner, only.

import CLinux
import Glibc

/// The files of a directory that is held open.
public struct DirectoryFiles: FileSystem {
  /// The open directory; it outlives this value.
  private let descriptor: Int32
  private let directory: String

  init(descriptor: Int32, directory: String) {
    self.descriptor = descriptor
    self.directory = directory
  }

  /// The name of a path in the directory.
  private func name(_ path: String) throws(Errno) -> String {
    let prefix = directory + "/"
    let name = String(path.dropFirst(prefix.count))
    guard path.hasPrefix(prefix), !name.isEmpty, !name.contains("/") else {
      throw Errno(code: EINVAL, operation: "open", path: path, detail: "not in \(directory)")
    }
    return name
  }

  public func open(_ path: String, _ access: BlockingFiles.Access) throws(Errno) -> BlockingFile {
    let name = try name(path)
    // Before it is opened, since opening a device can have an effect; and again afterwards, since
    // another process may have changed the name in between.
    try requireOwnFile(path)
    let flags: Int32
    switch access {
    case .read: flags = O_RDONLY
    case .modify: flags = O_RDWR
    case .create, .lock: flags = O_RDWR | O_CREAT
    }
    let number = try retrying("open", path) {
      clinux_openat(descriptor, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0o640)
    }
    let file = BlockingFile(descriptor: number, path: path)
    var status = stat()
    if fstat(number, &status) < 0 { throw Errno(code: errno, operation: "fstat", path: path) }
    try check(status, path)
    if access == .create { try file.truncate(to: 0) }
    return file
  }

  public func requireOwnFile(_ path: String) throws(Errno) {
    var status = stat()
    if fstatat(descriptor, try name(path), &status, AT_SYMLINK_NOFOLLOW) < 0 {
      if errno == ENOENT { return }
      throw Errno(code: errno, operation: "stat", path: path)
    }
    try check(status, path)
  }

  private func check(_ status: stat, _ path: String) throws(Errno) {
    func refuse(_ detail: String) -> Errno {
      Errno(code: EPERM, operation: "open", path: path, detail: detail)
    }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFLNK: throw refuse("a symbolic link, where only a regular file may be; remove it")
    case S_IFIFO: throw refuse("a FIFO, where only a regular file may be; remove it")
    default: throw refuse("not a regular file; remove it")
    }
    if status.st_uid == geteuid() { return }
    var own = stat()
    if fstat(descriptor, &own) == 0, own.st_uid == status.st_uid { return }
    throw refuse("owned by user \(status.st_uid), who owns neither this process nor the directory")
  }

  public func synchronizeDirectory(_ path: String) throws(Errno) {
    _ = try retrying("fsync", path) { fsync(descriptor) }
  }

  public func rename(_ from: String, to: String) throws(Errno) {
    let (old, new) = (try name(from), try name(to))
    _ = try retrying("rename", from) { renameat(descriptor, old, descriptor, new) }
  }

  public func unlink(_ path: String) throws(Errno) {
    let name = try name(path)
    _ = try retrying("unlink", path) { unlinkat(descriptor, name, 0) }
  }

  public func list(_ path: String) throws(Errno) -> [String] {
    // Its own open file: reading moves the position of the one that is shared.
    let own = try retrying("open", path) {
      clinux_openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
    }
    guard let stream = fdopendir(own) else {
      _ = close(own)
      throw Errno(code: errno, operation: "opendir", path: path)
    }
    return try BlockingFiles.names(stream, path)
  }

  private func retrying(
    _ operation: String, _ path: String, _ call: () -> Int32
  ) throws(Errno) -> Int32 {
    while true {
      let result = call()
      if result >= 0 { return result }
      if errno == EINTR { continue }
      throw Errno(code: errno, operation: operation, path: path)
    }
  }
}
