// The directory in which a comparison writes, on a real disk, because the audit log is part of what is
// measured; and the ports that its processes listen on. It takes away what it made.

import CLinux
import Glibc
import MillraceEngine

final class Workspace {
  let directory: String
  private let isKept: Bool
  /// Directories beside it that go at the end too.
  private var others: [String] = []
  private var portsGiven: Set<UInt16> = []

  /// File systems that keep files in memory only: TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
  private static let memoryFileSystems: Set<Int64> = [0x0102_1994, 0x8584_58F6]

  /// - Parameter kept: a directory that is to stay; nil: one is made and removed.
  init(kept: String?) throws(CompareFailure) {
    isKept = kept != nil
    if let kept {
      _ = mkdir(kept, 0o755)
      directory = try Self.makeDirectory(in: kept, "run")
      return
    }
    // /var/tmp is kept over a restart (FHS 3.0, section 5.15), so it is on a disk nearly everywhere.
    let places = ["/var/tmp", "."].filter { Self.isOnDisk($0) && access($0, W_OK) == 0 }
    directory = try Self.makeDirectory(in: places.first ?? "/tmp", "millrace-compare")
  }

  deinit {
    // What lies beside the user's audit log goes in any case: to keep is meant for one place.
    for directory in isKept ? others : others + [directory] { Self.remove(directory) }
  }

  /// Whether files written here reach a disk.
  static func isOnDisk(_ path: String) -> Bool {
    let kind = clinux_file_system(path)
    return kind >= 0 && !memoryFileSystems.contains(kind)
  }

  func path(_ name: String) -> String { directory + "/" + name }

  /// A directory of the workspace, made if it is not there.
  func subdirectory(_ name: String) throws(CompareFailure) -> String {
    let made = path(name)
    if mkdir(made, 0o755) != 0 && errno != EEXIST { throw Self.failure("made", made) }
    return made
  }

  /// A directory on the file system of another one, for an audit log that costs what the user's
  /// does.
  func scratch(like audit: String) throws(CompareFailure) -> String {
    var parent = audit
    while access(parent, F_OK) != 0, let slash = parent.lastIndex(of: "/"),
      slash > parent.startIndex
    {
      parent = String(parent[..<slash])
    }
    if access(parent, F_OK) != 0 { parent = parent.hasPrefix("/") ? "/" : "." }
    let made = try Self.makeDirectory(in: parent, ".millrace-compare")
    others.append(made)
    return made
  }

  private static func makeDirectory(
    in parent: String, _ name: String
  ) throws(CompareFailure) -> String {
    var template = Array((parent + "/" + name + "-XXXXXX").utf8CString)
    guard let made = mkdtemp(&template) else { throw failure("made", parent + "/" + name) }
    // nginx's and h2o's workers may run as somebody else and must get through.
    _ = chmod(made, 0o755)
    guard let absolute = realpath(made, nil) else { throw failure("found", parent) }
    defer { free(absolute) }
    return String(cString: absolute)
  }

  private static func failure(_ what: String, _ path: String) -> CompareFailure {
    CompareFailure(
      "\(path) cannot be \(what): \(String(cString: strerror(errno)))",
      cure: "name a directory that can be written with --keep")
  }

  /// Removes what is in a directory.
  static func empty(_ directory: String) {
    for name in (try? BlockingFiles.list(directory)) ?? [] { remove(directory + "/" + name) }
  }

  private static func remove(_ path: String) {
    var facts = stat()
    guard lstat(path, &facts) == 0 else { return }
    if facts.st_mode & S_IFMT == S_IFDIR {
      empty(path)
      _ = rmdir(path)
    } else {
      _ = Glibc.unlink(path)
    }
  }

  // MARK: Ports

  /// A port of 127.0.0.1 that nobody listens on, below those that the kernel gives to outgoing
  /// connections: one of them could take it while its proxy is not running.
  func freePort() throws(CompareFailure) -> UInt16 {
    let range = TextFile.read("/proc/sys/net/ipv4/ip_local_port_range")
    let first = range.split(whereSeparator: { $0 == "\t" || $0 == " " }).first.flatMap { Int($0) }
    let end = first.map { $0 > 12_000 ? $0 : 32_768 } ?? 32_768
    for candidate in stride(from: end - 1, to: 10_000, by: -1) {
      let port = UInt16(candidate)
      guard !portsGiven.contains(port), Self.canListen(port) else { continue }
      portsGiven.insert(port)
      return port
    }
    throw CompareFailure(
      "no port of 127.0.0.1 between 10000 and \(end) is free", cure: "end what listens on them")
  }

  private static func canListen(_ port: UInt16) -> Bool {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard socket >= 0 else { return false }
    defer { close(socket) }
    return withLoopback(port) { bind(socket, $0, $1) } == 0
  }

  /// Whether somebody accepts connections there.
  static func accepts(_ port: UInt16) -> Bool {
    let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard socket >= 0 else { return false }
    defer { close(socket) }
    return withLoopback(port) { connect(socket, $0, $1) } == 0
  }

  private static func withLoopback(
    _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
}
