// Trying what a start will need, without leaving a trace: can this address be bound, can this
// directory be written.

import CLinux
import Glibc

/// Binds an IP address and lets it go again.
public enum BindTrial {
  /// - Returns: what failed, or nil.
  public static func run(_ address: SocketAddress) -> SystemFailure? {
    do throws(SystemFailure) {
      // Without SO_REUSEPORT: a second proxy on the same port must not share it unnoticed.
      let socket = try Sockets.listen(
        address, backlog: 1, reusePort: false, nonblocking: true)
      Glibc.close(socket)
      return nil
    } catch {
      return error
    }
  }
}

/// Looks at the path that a UNIX socket is to listen on.
public enum UnixPathTrial {
  /// What is there.
  public enum Finding: Sendable, Equatable {
    /// Nothing, and a file can be made.
    case free
    /// A socket file that no process serves: what a crash leaves behind.
    case stale
    /// A stream socket that a process listens on.
    case inUse
    /// A file that is not a socket.
    case notASocket
    /// A socket, and why it cannot be told whose: EPROTOTYPE for one of datagrams or of packets,
    /// EACCES for one that this user may not connect to.
    case foreign(Int32)
    /// The directory is missing or cannot be written to.
    case directory(String, Int32)
  }

  /// Connects at most; changes nothing.
  public static func look(_ path: String) -> Finding {
    let directory = String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
    let denied = clinux_may_write(directory.isEmpty ? "/" : directory)
    var facts = stat()
    guard lstat(path, &facts) == 0 else {
      let code = denied < 0 ? -denied : errno
      return code == ENOENT && denied == 0 ? .free : .directory(directory, code)
    }
    guard facts.st_mode & S_IFMT == S_IFSOCK else { return .notASocket }
    guard let address = SocketAddress(unixPath: path),
      let probe = try? Sockets.make(for: address, nonblocking: true)
    else { return .inUse }
    defer { Glibc.close(probe) }
    let code = Sockets.withAddress(address) { Glibc.connect(probe, $0, $1) } == 0 ? 0 : errno
    switch code {
    // The backlog of a live one may be full (EAGAIN).
    case 0, EAGAIN, EINPROGRESS: return .inUse
    // The only answer that says that no process has it.
    case ECONNREFUSED: return denied < 0 ? .directory(directory, -denied) : .stale
    default: return .foreign(code)
    }
  }

  /// Removes a stale socket file. - Returns: an errno, or nil.
  public static func remove(_ path: String) -> Int32? {
    unlink(path) == 0 || errno == ENOENT ? nil : errno
  }
}

/// The file of a UNIX socket that this process listens on, by its inode: at that path there may be
/// another process's by the time that this one ends.
public struct UnixSocketFile: Sendable {
  private let path: String
  private let device: UInt
  private let inode: UInt

  /// - Returns: nil if there is no socket at the path.
  public init?(_ path: String) {
    var facts = stat()
    guard lstat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFSOCK else { return nil }
    self.path = path
    device = UInt(facts.st_dev)
    inode = UInt(facts.st_ino)
  }

  private init(_ other: UnixSocketFile, at path: String) {
    self.path = path
    device = other.device
    inode = other.inode
  }

  /// What the name of a file ends with that is not yet to be found.
  public static let unpublished = ".next"

  /// Gives the file another name, in place of what has it: at no time there is none, rename(2).
  /// - Throws: ESTALE where the file is another one by now.
  public func move(to path: String) throws(SystemFailure) {
    guard let now = UnixSocketFile(self.path), now.device == device, now.inode == inode else {
      throw SystemFailure(code: ESTALE, operation: "rename \(self.path) to \(path)")
    }
    guard rename(self.path, path) == 0 else {
      throw SystemFailure(code: errno, operation: "rename \(self.path) to \(path)")
    }
  }

  /// The same file under the name that it was given since.
  public func moved(to path: String) -> UnixSocketFile { UnixSocketFile(self, at: path) }

  /// Removes the file if it is still the same one.
  public func remove() {
    guard let now = UnixSocketFile(path), now.device == device, now.inode == inode else { return }
    unlink(path)
  }
}

/// Connects to an address and lets the connection go again.
public enum ConnectTrial {
  /// Blocks for as long as `milliseconds`.
  /// - Returns: whether something accepts connections there.
  public static func run(_ address: SocketAddress, milliseconds: Int32) -> Bool {
    guard let probe = try? Sockets.make(for: address, nonblocking: true) else { return false }
    defer { Glibc.close(probe) }
    if Sockets.withAddress(address, { Glibc.connect(probe, $0, $1) }) == 0 { return true }
    guard errno == EINPROGRESS else { return false }
    var wanted = pollfd(fd: probe, events: Int16(POLLOUT), revents: 0)
    guard poll(&wanted, 1, milliseconds) == 1 else { return false }
    var code: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(probe, SOL_SOCKET, SO_ERROR, &code, &length) == 0 && code == 0
  }
}

/// Creates and removes a file in a directory, which is made if it is missing.
public enum DirectoryTrial {
  /// - Returns: an errno, or nil.
  public static func run(_ path: String) -> Int32? {
    if mkdir(path, 0o750) != 0 && errno != EEXIST { return errno }
    var facts = stat()
    guard stat(path, &facts) == 0 else { return errno }
    guard facts.st_mode & S_IFMT == S_IFDIR else { return ENOTDIR }
    let name = path + "/.millrace-trial-\(getpid())"
    let file = Glibc.open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard file >= 0 else { return errno }
    Glibc.close(file)
    Glibc.unlink(name)
    return nil
  }
}
