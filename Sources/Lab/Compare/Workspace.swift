// The directory in which a comparison writes, on a real disk, because the audit log is part of what is
// measured; and the ports that its processes listen on. It takes away what it made, and what another
// one could not take away because it was killed.

import CLinux
import Glibc
import MillraceEngine

final class Workspace {
  let directory: String
  private let isKept: Bool
  /// Directories beside it that go at the end too.
  private var others: [String] = []
  /// Open and locked for as long as this process lives: who can lock a directory may remove it.
  private var claims: [Int32] = []
  private var portsGiven: Set<UInt16> = []

  /// File systems that keep files in memory only: TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
  private static let memoryFileSystems: Set<Int64> = [0x0102_1994, 0x8584_58F6]

  /// - Parameter kept: a directory that is to stay; nil: one is made and removed.
  init(kept: String?) throws(CompareFailure) {
    isKept = kept != nil
    if let kept {
      _ = mkdir(kept, 0o755)
      directory = try Self.makeDirectory(in: kept, "run")
      return  // Nobody removes what is kept, so nobody needs to know whose it is.
    }
    // /var/tmp is kept over a restart (FHS 3.0, section 5.15), so it is on a disk nearly everywhere.
    let places = ["/var/tmp", "."].filter { Self.isOnDisk($0) && access($0, W_OK) == 0 }
    let (made, claim) = try Self.claimDirectory(in: places.first ?? "/tmp", "millrace-compare")
    directory = made
    claims = [claim]
  }

  deinit {
    // What lies beside the user's audit log goes in any case: to keep is meant for one place.
    for directory in isKept ? others : others + [directory] { Self.remove(directory) }
    for claim in claims { Glibc.close(claim) }
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
    let (made, claim) = try Self.claimDirectory(in: parent, ".millrace-compare")
    others.append(made)
    claims.append(claim)
    return made
  }

  private static func makeDirectory(
    in parent: String, _ name: String
  ) throws(CompareFailure) -> String {
    guard let absolute = realpath(parent, nil) else { throw failure("found", parent) }
    defer { free(absolute) }
    let path = String(cString: absolute)
    var template = Array(((path == "/" ? "" : path) + "/" + name + "-XXXXXX").utf8CString)
    guard let made = mkdtemp(&template) else { throw failure("made", parent + "/" + name) }
    // nginx's and h2o's workers may run as somebody else and must get through.
    _ = chmod(made, 0o755)
    return String(cString: made)
  }

  // MARK: Whose it is

  /// Makes a directory that is known to be ours until this process ends, and removes those of
  /// processes that have ended without doing so.
  private static func claimDirectory(
    in parent: String, _ name: String
  ) throws(CompareFailure) -> (path: String, claim: Int32) {
    removeLeftovers(in: parent, name)
    while true {
      let made = try makeDirectory(in: parent, name)
      // Not inherited: a proxy that outlives us does not keep it.
      let claim = open(made, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
      guard claim >= 0 else {
        // Another comparison that was cleaning up found it before we had locked it: make another.
        if errno == ENOENT { continue }
        throw failure("opened", made)
      }
      // Waits for who looks at it at this moment. A file system without locks has no leftovers to find.
      while flock(claim, LOCK_EX) != 0 && errno == EINTR {}
      if access(made, F_OK) == 0 { return (made, claim) }
      Glibc.close(claim)
    }
  }

  /// Removes our user's directories of this name that no process has locked.
  static func removeLeftovers(in parent: String, _ name: String) {
    for entry in (try? BlockingFiles.list(parent)) ?? [] where isMade(entry, name) {
      let path = parent + "/" + entry
      let leftover = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
      guard leftover >= 0 else { continue }
      defer { Glibc.close(leftover) }
      var facts = stat()
      // In /var/tmp anybody may make a directory of any name.
      guard fstat(leftover, &facts) == 0, facts.st_uid == geteuid() else { continue }
      if flock(leftover, LOCK_EX | LOCK_NB) == 0 { remove(path) }
    }
  }

  /// Whether `makeDirectory` may have made it: the name, and six letters or digits of mkdtemp(3).
  private static func isMade(_ entry: String, _ name: String) -> Bool {
    guard entry.hasPrefix(name + "-") else { return false }
    let rest = entry.utf8.dropFirst(name.utf8.count + 1)
    return rest.count == 6
      && rest.allSatisfy {
        (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0)
      }
  }

  private static func failure(_ what: String, _ path: String) -> CompareFailure {
    CompareFailure(
      "\(path) cannot be \(what): \(String(cString: strerror(errno)))",
      hint: "choose a writable directory with --keep")
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
      "no port of 127.0.0.1 between 10000 and \(end) is free",
      hint: "stop the processes that use them")
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
