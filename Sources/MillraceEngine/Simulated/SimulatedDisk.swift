// The disk of a simulated world: directories, files, and which of it would survive a crash. What is
// promised is what ext4 promises with data=ordered and a drive that has a volatile cache, and no
// more:
//
// - What was written is durable after a sync of its file, or at once with RWF_DSYNC; until then each
//   512-byte sector is, on its own, the old or the new one after a crash.
// - A size that has grown is durable with the data; a file is never longer than its data.
// - Names (creation, rename, removal) are durable after a sync of their directory; until then the
//   first so many of all changes, in their order, survive. A sync of a file promises nothing about
//   its name, although ext4 often keeps it.
// - Directories themselves are made durably.

import CLinux
import Glibc

/// A disk in memory.
public final class SimulatedDisk {
  unowned(unsafe) var world: SimulatedWorld!
  /// Names as they are, and as they would be after a crash.
  private var names: [String: SimulatedFile] = [:]
  private var durableNames: [String: SimulatedFile] = [:]
  private var directories: Set<String> = [
    "/", "/tmp", "/dev", "/etc", "/run", "/var", "/var/lib", "/var/log",
  ]
  private enum NameChange {
    case create(String, SimulatedFile)
    case rename(String, String)
    case unlink(String)
  }
  /// Changes of names that no sync of a directory has made durable, oldest first.
  private var pendingNames: [NameChange] = []
  private var nextInode: UInt64 = 12
  /// Bytes that the files of the disk hold.
  public private(set) var used = 0
  private var troubles: [(trouble: SimulatedDiskTrouble, from: Int64, until: Int64)] = []
  /// How often the machine has crashed.
  public private(set) var crashes = 0
  /// Writes that were handed to the drive and have not completed, oldest first.
  var writesUnderWay: [SimulatedWrite] = []

  init() {
    for (name, device) in [
      ("/dev/null", SimulatedFile.Device.null), ("/dev/full", .full), ("/dev/zero", .zero),
    ] {
      let file = SimulatedFile(inode: takeInode(), device: device)
      names[name] = file
      durableNames[name] = file
    }
  }

  private func takeInode() -> UInt64 {
    nextInode += 1
    return nextInode
  }

  // MARK: Trouble

  /// Something goes wrong with every operation that it concerns, between two points of time.
  public func fail(_ trouble: SimulatedDiskTrouble, from: Int64, until: Int64 = .max) {
    troubles.append((trouble, from, until))
  }

  /// Ends all troubles that `fail` made.
  public func recover() { troubles = [] }

  func has(_ trouble: SimulatedDiskTrouble) -> Bool {
    guard !troubles.isEmpty else { return false }
    let now = world.now
    return troubles.contains { $0.trouble == trouble && $0.from <= now && now < $0.until }
  }

  // MARK: Looking from outside

  /// The content of a file as a reader sees it now, or nil.
  public func contents(_ path: String) -> [UInt8]? { names[Self.tidy(path)]?.bytes }
  /// The content that a file would have at the least after a crash now: what is durable, under a
  /// name that is durable.
  public func durableContents(_ path: String) -> [UInt8]? {
    durableNames[Self.tidy(path)]?.durableBytes
  }

  /// The names in a directory, in byte order.
  public func list(_ directory: String) -> [String] {
    let prefix = Self.tidy(directory) == "/" ? "/" : Self.tidy(directory) + "/"
    let all = Array(names.keys) + Array(directories)
    return all.filter { $0.count > prefix.count && $0.hasPrefix(prefix) }
      .map { String($0.dropFirst(prefix.count)) }
      .filter { !$0.contains("/") }
      .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  /// True if a file or a directory has this name, durable or not.
  public func exists(_ path: String) -> Bool {
    names[Self.tidy(path)] != nil || directories.contains(Self.tidy(path))
  }

  /// Makes a directory and those above it, durably.
  public func makeDirectory(_ path: String) {
    var path = Self.tidy(path)
    while path != "/" {
      directories.insert(path)
      path = Self.parent(path)
    }
  }

  /// Puts a file there, durably, as it was before the story begins.
  public func put(_ path: String, _ bytes: [UInt8]) {
    let path = Self.tidy(path)
    makeDirectory(Self.parent(path))
    let file = SimulatedFile(inode: takeInode(), device: nil)
    if let old = names[path] { drop(old) }
    names[path] = file
    durableNames[path] = file
    file.links = 1
    bytes.withUnsafeBytes { _ = file.write($0, at: 0, time: wallNanoseconds) }
    file.makeDurable()
    account(file, before: 0)
  }

  var wallNanoseconds: Int64 { world == nil ? 0 : world.wallMicroseconds * 1000 }

  // MARK: Space

  /// Counts what a file has grown or shrunk by.
  func account(_ file: SimulatedFile, before: Int) { used += file.footprint - before }

  func hasRoom(for more: Int) -> Bool {
    !has(.noSpace) && used + more <= world.conditions.diskCapacity
  }

  private func drop(_ file: SimulatedFile) {
    file.links -= 1
    if file.links == 0 && file.opens == 0 { used -= file.footprint }
  }

  func closed(_ file: SimulatedFile) {
    file.opens -= 1
    if file.links == 0 && file.opens == 0 && file.device == nil { used -= file.footprint }
  }

  // MARK: Names

  /// What a path itself is refused for: a name of more than NAME_MAX bytes, a file for a directory.
  private func refuses(_ path: String) -> Int32 {
    if path.split(separator: "/").contains(where: { $0.utf8.count > 255 }) { return -ENAMETOOLONG }
    let parent = Self.parent(path)
    if directories.contains(parent) { return 0 }
    return names[parent] == nil ? -ENOENT : -ENOTDIR
  }

  /// open(2).
  public func open(_ path: String, flags: Int32, mode: UInt32 = 0o644) -> SimulatedOpening {
    let path = Self.tidy(path)
    let isDirect = flags & CLINUX_O_DIRECT != 0
    if isDirect && world.conditions.refusesDirect { return .failed(-EINVAL) }
    let access = flags & O_ACCMODE
    let refusal = path == "/" ? 0 : refuses(path)
    if refusal != 0 { return .failed(refusal) }
    if directories.contains(path) {
      if access != O_RDONLY || flags & O_CREAT != 0 { return .failed(-EISDIR) }
      return .opened(SimulatedOpenFile(self, path, nil, access, isDirect: false))
    }
    if flags & O_DIRECTORY != 0 { return .failed(names[path] == nil ? -ENOENT : -ENOTDIR) }
    if let file = names[path] {
      if flags & O_CREAT != 0 && flags & O_EXCL != 0 { return .failed(-EEXIST) }
      if flags & O_TRUNC != 0 && access != O_RDONLY && file.device == nil {
        let before = file.footprint
        file.reservedEnd = 0
        file.resize(0, time: wallNanoseconds)
        account(file, before: before)
      }
      return .opened(SimulatedOpenFile(self, path, file, access, isDirect: isDirect))
    }
    guard flags & O_CREAT != 0 else { return .failed(-ENOENT) }
    guard hasRoom(for: 1) else { return .failed(-ENOSPC) }
    let file = SimulatedFile(inode: takeInode(), device: nil)
    file.mode = UInt16(truncatingIfNeeded: mode & 0o7777)
    file.links = 1
    file.modified = wallNanoseconds
    names[path] = file
    pendingNames.append(.create(path, file))
    return .opened(SimulatedOpenFile(self, path, file, access, isDirect: isDirect))
  }

  /// rename(2). - Returns: 0 or a negated errno.
  public func rename(_ from: String, to: String) -> Int32 {
    let (from, to) = (Self.tidy(from), Self.tidy(to))
    let refusal = min(refuses(from), refuses(to))
    if refusal != 0 { return refusal }
    guard let file = names[from] else {
      return directories.contains(from) ? -EISDIR : -ENOENT
    }
    if directories.contains(to) { return -EISDIR }
    if from == to { return 0 }
    if let old = names[to] { drop(old) }
    names[from] = nil
    names[to] = file
    pendingNames.append(.rename(from, to))
    return 0
  }

  /// unlink(2). - Returns: 0 or a negated errno.
  public func unlink(_ path: String) -> Int32 {
    let path = Self.tidy(path)
    let refusal = refuses(path)
    if refusal != 0 { return refusal }
    if directories.contains(path) { return -EISDIR }
    guard let file = names.removeValue(forKey: path) else { return -ENOENT }
    drop(file)
    pendingNames.append(.unlink(path))
    return 0
  }

  func status(_ path: String) -> SimulatedOpening {
    let path = Self.tidy(path)
    if directories.contains(path) {
      return .opened(SimulatedOpenFile(self, path, nil, O_RDONLY, isDirect: false))
    }
    let refusal = refuses(path)
    if refusal != 0 { return .failed(refusal) }
    guard let file = names[path] else { return .failed(-ENOENT) }
    return .opened(SimulatedOpenFile(self, path, file, O_RDONLY, isDirect: false))
  }

  /// fsync(2) of a directory. The journal is one: what came before it is durable as well, wherever.
  func synchronizeNames() {
    for change in pendingNames { apply(change) }
    pendingNames = []
  }

  private func apply(_ change: NameChange) {
    switch change {
    case .create(let path, let file): durableNames[path] = file
    case .rename(let from, let to):
      durableNames[to] = durableNames[from]
      durableNames[from] = nil
    case .unlink(let path): durableNames[path] = nil
    }
  }

  // MARK: The crash

  /// The machine loses power now. What remains can be read afterwards; what was open is lost, and
  /// every engine that still used it must be dropped.
  public func crash() {
    crashes += 1
    for write in writesUnderWay { write.tear(&world.dice) }
    writesUnderWay = []
    let survivors = pendingNames.isEmpty ? 0 : world.dice.roll(pendingNames.count + 1)
    for change in pendingNames[..<survivors] { apply(change) }
    pendingNames = []
    names = durableNames
    used = 0
    for path in names.keys.sorted() {
      guard let file = names[path], file.device == nil else { continue }
      file.crash(&world.dice)
      file.links = 1
      file.opens = 0
      used += file.footprint
    }
    troubles = []
    world.note(.crash, UInt64(survivors), Int64(used))
  }

  // MARK: Paths

  /// Without double and trailing slashes.
  static func tidy(_ path: String) -> String {
    if !path.contains("//") && (path == "/" || path.last != "/") { return path }
    return "/" + path.split(separator: "/").joined(separator: "/")
  }

  static func parent(_ path: String) -> String {
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return "/" }
    return String(path[..<slash])
  }
}

/// What can be wrong with a disk for a while.
public enum SimulatedDiskTrouble: Sendable {
  /// Every write and creation that needs room: ENOSPC.
  case noSpace
  /// Every read, write and sync: EIO.
  case broken
  /// Every sync takes as long as `SimulatedConditions.slowSync`.
  case slow
}

/// What became of an open(2).
public enum SimulatedOpening {
  /// The open file.
  case opened(SimulatedOpenFile)
  /// A negated errno.
  case failed(Int32)
}
