// SimulatedDisk executes a journal's operations in memory, with a seed: faults on the way, and a
// crash that keeps what was synced, loses or tears what was not, sector by sector. It owns the
// world's files; the tests hand what is left after a crash to the real recovery in a real folder.

import Glibc
import MillraceEngine

@testable import AuditLog

struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &self) < percent }
}

struct Faults {
  var shortWrite = 0
  var commitError = 0
  var interrupted = 0
  var noSpace = 0
  var refusesDirect = false
  var refusesDirectWrites = false
  var refusesDurable = false
  /// False: RWF_DSYNC is accepted and ignored, which no test may survive.
  var honoursDurable = true
  var retireError = 0
  /// fallocate is not there.
  var refusesAllocation = false
  var fillError = 0
}

/// A completion's result, and the buffer of a write.
struct Answer: ~Copyable {
  let result: Int32
  var buffer: FileBuffer?
  var status: FileStatus?

  init(_ result: Int32, _ buffer: consuming FileBuffer? = nil) {
    self.result = result
    self.buffer = buffer
  }
}

final class SimulatedDisk {
  private enum Change {
    case write(offset: Int, bytes: [UInt8])
    case truncate(Int)
  }

  private final class Inode {
    var content: [UInt8] = []
    var durable: [UInt8] = []
    var changes: [Change] = []

    static func apply(_ change: Change, to content: inout [UInt8]) {
      switch change {
      case .truncate(let length):
        if content.count > length {
          content.removeLast(content.count - length)
        } else {
          content += [UInt8](repeating: 0, count: length - content.count)
        }
      case .write(let offset, let bytes):
        if content.count < offset + bytes.count {
          content += [UInt8](repeating: 0, count: offset + bytes.count - content.count)
        }
        content.replaceSubrange(offset..<offset + bytes.count, with: bytes)
      }
    }
  }

  private enum NameChange {
    case link(String, Inode)
    case unlink(String)
    case rename(String, String)
  }

  private var names: [String: Inode] = [:]
  private var durableNames: [String: Inode] = [:]
  private var nameChanges: [NameChange] = []
  private var open: [Int32: (inode: Inode?, direct: Bool)] = [:]
  private var nextDescriptor: Int32 = 10
  var faults: Faults
  var random: SplitMix
  private(set) var writesInFlightMax = 0

  init(faults: Faults, seed: UInt64) {
    self.faults = faults
    random = SplitMix(state: seed)
  }

  var openCount: Int { open.count }

  func content(_ name: String) -> [UInt8]? { names[name]?.content }
  var fileNames: [String] { names.keys.sorted() }

  func load(_ name: String, _ content: [UInt8]) {
    let inode = Inode()
    inode.content = content
    inode.durable = content
    names[name] = inode
    durableNames[name] = inode
  }

  private func name(_ path: UnsafePointer<CChar>) -> String {
    let text = String(cString: path)
    return text.split(separator: "/").last.map(String.init) ?? text
  }

  /// Executes one operation; `isCommit` says whose it is, since faults differ.
  func perform(
    _ operation: consuming JournalOperation, lane: JournalLane
  ) -> Answer {
    switch consume operation {
    case .open(let path, let flags, _):
      return Answer(open(path, flags))
    case .allocate:
      // It keeps the size, so there is nothing to see of it.
      if faults.refusesAllocation { return Answer(-EOPNOTSUPP) }
      return Answer(random.chance(faults.noSpace) ? -ENOSPC : 0)
    case .write(let file, let buffer, let count, let offset, let durable):
      let result = write(
        file, UnsafeRawBufferPointer(start: buffer.base, count: count), offset, durable,
        lane)
      return Answer(result, buffer)
    case .sync(let file, _):
      if lane == .retire && random.chance(faults.retireError) { return Answer(-EIO) }
      if lane == .commit && random.chance(faults.commitError) { return Answer(-EIO) }
      sync(file)
      return Answer(0)
    case .truncate(let file, let length):
      if lane == .retire && random.chance(faults.retireError) { return Answer(-EIO) }
      change(file, .truncate(length))
      return Answer(0)
    case .rename(let from, let to):
      let (old, new) = (name(from), name(to))
      if directory == 0 { return Answer(-ENOENT) }
      guard let inode = names.removeValue(forKey: old) else { return Answer(-ENOENT) }
      names[new] = inode
      nameChanges.append(.rename(old, new))
      return Answer(0)
    case .unlink(let path):
      names[name(path)] = nil
      nameChanges.append(.unlink(name(path)))
      return Answer(0)
    case .status(let path):
      let (result, status) = status(path)
      var answer = Answer(result)
      answer.status = status
      return answer
    case .close(let file):
      return Answer(open.removeValue(forKey: file) == nil ? -EBADF : 0)
    }
  }

  /// The inode of the directory; 0: it is not there.
  var directory: UInt64 = 2

  /// The directory and all in it are deleted. What is open stays so.
  func removeDirectory() {
    names = [:]
    directory = 0
  }

  func remove(_ name: String) { names[name] = nil }

  /// statx(2).
  func status(_ path: UnsafePointer<CChar>) -> (Int32, FileStatus?) {
    if directory == 0 { return (-ENOENT, nil) }
    let name = name(path)
    if !name.hasPrefix("w0") {
      return (0, FileStatus(mode: UInt16(S_IFDIR), links: 2, inode: directory))
    }
    guard let inode = names[name] else { return (-ENOENT, nil) }
    let number = UInt64(UInt(bitPattern: ObjectIdentifier(inode).hashValue)) | 1
    return (0, FileStatus(mode: UInt16(S_IFREG), links: 1, inode: number))
  }

  private func open(_ path: UnsafePointer<CChar>, _ flags: Int32) -> Int32 {
    nextDescriptor += 1
    if directory == 0 { return -ENOENT }
    if flags & O_DIRECTORY != 0 {
      open[nextDescriptor] = (nil, false)
      return nextDescriptor
    }
    let direct = flags & WriteMode.directFlag != 0
    if direct && faults.refusesDirect { return -EINVAL }
    if names[name(path)] == nil {
      guard flags & O_CREAT != 0 else { return -ENOENT }
      let inode = Inode()
      names[name(path)] = inode
      nameChanges.append(.link(name(path), inode))
    } else if flags & O_EXCL != 0 {
      return -EEXIST
    }
    let inode = names[name(path)]!
    if flags & O_TRUNC != 0 && !inode.content.isEmpty {
      inode.changes.append(.truncate(0))
      inode.content = []
    }
    open[nextDescriptor] = (inode, direct)
    return nextDescriptor
  }

  private func write(
    _ file: Int32, _ bytes: UnsafeRawBufferPointer, _ offset: Int, _ durable: Bool,
    _ lane: JournalLane
  ) -> Int32 {
    guard let entry = open[file], let inode = entry.inode else { return -EBADF }
    if entry.direct {
      if faults.refusesDirectWrites { return -EINVAL }
      let aligned =
        offset % 4096 == 0 && bytes.count % 4096 == 0
        && UInt(bitPattern: bytes.baseAddress!) % 4096 == 0
      if !aligned { return -EINVAL }
    }
    if durable && faults.refusesDurable { return -EOPNOTSUPP }
    if random.chance(faults.interrupted) { return random.chance(50) ? -EINTR : -EAGAIN }
    // Where space is reserved first, only that can fail.
    if lane == .prepare && faults.refusesAllocation && random.chance(faults.noSpace) {
      return -ENOSPC
    }
    if lane == .fill && random.chance(faults.fillError) { return -EIO }
    if lane == .commit && random.chance(faults.commitError) {
      // Part of it may have reached the device all the same, now or later.
      tear(inode, bytes, offset)
      return -EIO
    }
    var count = bytes.count
    if random.chance(faults.shortWrite) {
      count = Int.random(in: 1...count, using: &random)
      if entry.direct { count = max(4096, count / 4096 * 4096) }
    }
    let change = Change.write(offset: offset, bytes: Array(bytes[0..<count]))
    Inode.apply(change, to: &inode.content)
    if durable && faults.honoursDurable {
      Inode.apply(change, to: &inode.durable)
    } else {
      inode.changes.append(change)
    }
    return Int32(count)
  }

  private func tear(_ inode: Inode, _ bytes: UnsafeRawBufferPointer, _ offset: Int) {
    let keepAll = random.chance(30)
    var sector = 0
    while sector < bytes.count {
      let end = min(sector + 512, bytes.count)
      if keepAll || random.chance(50) {
        let change = Change.write(offset: offset + sector, bytes: Array(bytes[sector..<end]))
        Inode.apply(change, to: &inode.content)
        Inode.apply(change, to: &inode.durable)
      }
      sector = end
    }
  }

  private func change(_ file: Int32, _ change: Change) {
    guard let inode = open[file]?.inode else { return }
    Inode.apply(change, to: &inode.content)
    inode.changes.append(change)
  }

  private func sync(_ file: Int32) {
    guard let entry = open[file] else { return }
    guard let inode = entry.inode else {
      for change in nameChanges { apply(change) }
      nameChanges = []
      return
    }
    for change in inode.changes { Inode.apply(change, to: &inode.durable) }
    inode.changes = []
  }

  private func apply(_ change: NameChange) {
    switch change {
    case .link(let name, let inode): durableNames[name] = inode
    case .unlink(let name): durableNames[name] = nil
    case .rename(let old, let new): durableNames[new] = durableNames.removeValue(forKey: old)
    }
  }

  /// A write that was in flight when the machine stopped.
  func interrupt(_ operation: consuming JournalOperation) {
    switch consume operation {
    case .write(let file, let buffer, let count, let offset, _):
      guard let inode = open[file]?.inode else { return }
      tear(inode, UnsafeRawBufferPointer(start: buffer.base, count: count), offset)
    default:
      break
    }
  }

  /// What is on the device after a crash: a prefix of the name changes, any part of the rest.
  func crash() -> [(name: String, content: [UInt8])] {
    for change in nameChanges.prefix(Int.random(in: 0...nameChanges.count, using: &random)) {
      apply(change)
    }
    var result: [(name: String, content: [UInt8])] = []
    for name in durableNames.keys.sorted() {
      let inode = durableNames[name]!
      for change in inode.changes {
        switch change {
        case .truncate:
          if random.chance(50) { Inode.apply(change, to: &inode.durable) }
        case .write(let offset, let bytes):
          bytes.withUnsafeBytes { tear(inode, $0, offset) }
        }
      }
      result.append((name, inode.durable))
    }
    return result
  }

  /// What is there while the machine runs on.
  func snapshot() -> [(name: String, content: [UInt8])] {
    fileNames.map { ($0, names[$0]!.content) }
  }
}
