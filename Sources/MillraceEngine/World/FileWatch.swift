// Watching files by their paths, inotify(7). A path is watched where it can come to mean another file: in the
// folder of each link on its way, and in that of the file itself. So a file that is written, one that a rename
// puts in its place, and a link that is turned to another folder (as Kubernetes does with `..data`) are all
// seen; what others do in the same folders is not reported.

import CLinux
import Glibc

/// The places on the way of a path where it may change.
struct PathPlace: Hashable {
  let folder: String
  let name: String

  /// Links that are followed at most, as the kernel does (ELOOP, path_resolution(7)).
  private static let linksMaximum = 40

  /// The places of a path as it leads now; up to the first that is missing.
  static func all(_ path: String) -> [PathPlace] {
    var places: [PathPlace] = []
    var left = Array(parts(path).reversed())
    var folder = path.hasPrefix("/") ? "" : currentFolder
    var links = 0
    while let part = left.popLast() {
      if part == ".." {
        folder = String(folder[..<(folder.lastIndex(of: "/") ?? folder.startIndex)])
        continue
      }
      let full = "\(folder)/\(part)"
      let place = PathPlace(folder: folder.isEmpty ? "/" : folder, name: part)
      var facts = stat()
      guard lstat(full, &facts) == 0 else { return places + [place] }
      if facts.st_mode & S_IFMT == S_IFLNK, links < linksMaximum, let target = target(full) {
        links += 1
        places.append(place)
        if target.hasPrefix("/") { folder = "" }
        left += parts(target).reversed()
      } else if left.isEmpty {
        places.append(place)
      } else {
        folder = full
      }
    }
    return places
  }

  private static func parts(_ path: String) -> [String] {
    path.split(separator: "/").map(String.init).filter { $0 != "." }
  }

  private static func target(_ link: String) -> String? {
    var room = [CChar](repeating: 0, count: Int(PATH_MAX))
    let got = readlink(link, &room, room.count)
    return got > 0
      ? String(decoding: room[..<got].map(UInt8.init(bitPattern:)), as: UTF8.self) : nil
  }

  private static var currentFolder: String {
    guard let path = getcwd(nil, 0) else { return "" }
    defer { free(path) }
    let text = String(cString: path)
    return text == "/" ? "" : text
  }
}

/// Tells when one of some paths may lead to other content than before.
public struct FileWatch: ~Copyable {
  /// Readable while something is to be told, poll(2).
  public let descriptor: Int32
  /// False where a folder cannot be watched: something else must look from time to time.
  public private(set) var isComplete = true
  private var folders: [Int32: Set<String>] = [:]

  private static let events =
    UInt32(IN_CLOSE_WRITE) | UInt32(IN_MOVED_TO) | UInt32(IN_CREATE) | UInt32(IN_ATTRIB)
    | UInt32(IN_DELETE_SELF) | UInt32(IN_MOVE_SELF) | UInt32(IN_ONLYDIR)

  /// - Returns: nil where the kernel gives no more instances (fs.inotify.max_user_instances).
  public init?() {
    let number = inotify_init1(Int32(IN_NONBLOCK) | Int32(IN_CLOEXEC))
    guard number >= 0 else { return nil }
    descriptor = number
  }

  deinit { close(descriptor) }

  /// Watches these paths, and no others any more.
  public mutating func watch(_ paths: [String]) {
    var wanted: [String: Set<String>] = [:]
    for place in paths.flatMap(PathPlace.all) {
      wanted[place.folder, default: []].insert(place.name)
    }
    var kept: [Int32: Set<String>] = [:]
    isComplete = true
    for (folder, names) in wanted {
      // The same number again for a folder that is watched already.
      let number = inotify_add_watch(descriptor, folder, Self.events)
      if number >= 0 { kept[number, default: []].formUnion(names) } else { isComplete = false }
    }
    for number in folders.keys where kept[number] == nil { inotify_rm_watch(descriptor, number) }
    folders = kept
  }

  /// Takes what the kernel has to tell.
  /// - Returns: whether any of it is about the paths.
  public mutating func takeChanges() -> Bool {
    var isOurs = false
    var room = [UInt8](repeating: 0, count: 1 << 14)
    while true {
      let got = room.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      guard got > 0 else { return isOurs }
      if room.withUnsafeBytes({ isAboutPaths(UnsafeRawBufferPointer(rebasing: $0[..<got])) }) {
        isOurs = true
      }
    }
  }

  private func isAboutPaths(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let head = MemoryLayout<inotify_event>.size
    var at = 0
    var isOurs = false
    while at + head <= bytes.count {
      let event = bytes.loadUnaligned(fromByteOffset: at, as: inotify_event.self)
      let end = at + head + Int(event.len)
      guard end <= bytes.count else { break }
      let name = String(decoding: bytes[(at + head)..<end].prefix { $0 != 0 }, as: UTF8.self)
      // Events without a name: the folder itself has gone, or some were lost.
      if name.isEmpty {
        let lost = UInt32(IN_DELETE_SELF) | UInt32(IN_MOVE_SELF) | UInt32(IN_Q_OVERFLOW)
        if event.mask & lost != 0 { isOurs = true }
      } else if folders[event.wd]?.contains(name) == true {
        isOurs = true
      }
      at = end
    }
    return isOurs
  }
}
