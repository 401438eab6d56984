// A file of the simulated disk: its content as readers see it, its content as a crash would leave it
// at the least, and which sectors differ. An open file checks what the kernel checks before it
// touches the content.

import CLinux
import Glibc

/// An inode.
final class SimulatedFile {
  enum Device { case null, full, zero }

  /// What a drive writes whole or not at all.
  static let sectorBytes = 512

  let inode: UInt64
  let device: Device?
  var mode: UInt16 = 0o644
  var links = 0
  var opens = 0
  var modified: Int64 = 0
  private(set) var bytes: [UInt8] = []
  /// Up to here space is reserved, also beyond the file's end. A crash gives it back.
  var reservedEnd = 0
  private var durable: [UInt8] = []
  private var isDirty: [Bool] = []
  /// Sectors whose two contents may differ, in the order in which they were first written.
  private var dirty: [Int] = []

  init(inode: UInt64, device: Device?) {
    self.inode = inode
    self.device = device
  }

  var durableBytes: [UInt8] { durable }

  /// Bytes of the disk that it takes.
  var footprint: Int { max(bytes.count, reservedEnd) }

  private func mark(_ from: Int, _ to: Int) {
    guard from < to else { return }
    let last = (to - 1) / Self.sectorBytes
    while isDirty.count <= last { isDirty.append(false) }
    for sector in (from / Self.sectorBytes)...last where !isDirty[sector] {
      isDirty[sector] = true
      dirty.append(sector)
    }
  }

  func write(_ source: UnsafeRawBufferPointer, at offset: Int, time: Int64) -> Int {
    guard source.count > 0 else { return 0 }
    let end = offset + source.count
    if end > bytes.count {
      mark(bytes.count, end)
      bytes.append(contentsOf: repeatElement(0, count: end - bytes.count))
    }
    bytes.withUnsafeMutableBytes {
      _ = memcpy($0.baseAddress! + offset, source.baseAddress!, source.count)
    }
    mark(offset, end)
    modified = time
    return source.count
  }

  func resize(_ length: Int, time: Int64) {
    modified = time
    if length < bytes.count {
      bytes.removeLast(bytes.count - length)
    } else if length > bytes.count {
      mark(bytes.count, length)
      bytes.append(contentsOf: repeatElement(0, count: length - bytes.count))
    }
  }

  func makeDurable() {
    settleSize(bytes.count)
    for sector in dirty {
      isDirty[sector] = false
      settle(sector)
    }
    dirty = []
  }

  /// RWF_DSYNC: this part, and the size.
  func makeDurable(_ from: Int, _ to: Int) {
    guard from < to else { return }
    settleSize(bytes.count)
    for sector in (from / Self.sectorBytes)...((to - 1) / Self.sectorBytes) { settle(sector) }
  }

  private func settleSize(_ size: Int) {
    if size < durable.count {
      durable.removeLast(durable.count - size)
    } else if size > durable.count {
      // Ordered: what lies in the part that the file has grown by is written before the size.
      let before = durable.count
      durable.append(contentsOf: bytes[before..<size])
    }
  }

  private func settle(_ sector: Int) {
    let from = sector * Self.sectorBytes
    let to = min(from + Self.sectorBytes, durable.count, bytes.count)
    guard from < to else { return }
    durable.withUnsafeMutableBytes { target in
      bytes.withUnsafeBytes {
        _ = memcpy(target.baseAddress! + from, $0.baseAddress! + from, to - from)
      }
    }
  }

  /// What is not durable is there or not, sector by sector; a size is the old one, the new one, or
  /// one between them at the end of a block.
  func crash(_ dice: inout SimulatedDice) {
    reservedEnd = 0
    let (old, new) = (durable.count, bytes.count)
    if new > old {
      let blocks = (new - old) / 4096
      settleSize(dice.roll(2) == 0 ? old : min(new, old + dice.roll(blocks + 2) * 4096))
    } else if new < old && dice.roll(2) == 0 {
      settleSize(new)
    }
    for sector in dirty where dice.roll(2) == 0 { settle(sector) }
    for sector in dirty { isDirty[sector] = false }
    dirty = []
    bytes = durable
  }
}

/// A write that the drive has and that has not completed.
final class SimulatedWrite {
  private let file: SimulatedFile
  private let bytes: [UInt8]
  private let offset: Int

  init(_ file: SimulatedFile, _ bytes: [UInt8], offset: Int) {
    self.file = file
    self.bytes = bytes
    self.offset = offset
  }

  /// The power goes: each of its sectors may have got to where a crash finds it.
  func tear(_ dice: inout SimulatedDice) {
    var at = 0
    while at < bytes.count {
      let sectorEnd =
        ((offset + at) / SimulatedFile.sectorBytes + 1) * SimulatedFile.sectorBytes
      let length = min(bytes.count - at, sectorEnd - offset - at)
      // Only inside what the file has: a size changes with a completed write.
      if dice.roll(2) == 0, offset + at + length <= file.bytes.count {
        bytes[at..<(at + length)].withUnsafeBytes {
          _ = file.write($0, at: offset + at, time: file.modified)
        }
      }
      at += length
    }
  }
}

/// An open file.
public final class SimulatedOpenFile {
  private unowned let disk: SimulatedDisk
  let path: String
  /// nil: a directory.
  let file: SimulatedFile?
  private let access: Int32
  private let isDirect: Bool
  private var isOpen = true
  /// The machine has been off since: this is of no consequence any more.
  private let crashes: Int
  /// Where `readOn` and `writeOn` go on.
  private var position: Int64 = 0
  private var world: SimulatedWorld { disk.world }

  init(
    _ disk: SimulatedDisk, _ path: String, _ file: SimulatedFile?, _ access: Int32, isDirect: Bool
  ) {
    self.disk = disk
    self.path = path
    self.file = file
    self.access = access
    self.isDirect = isDirect
    crashes = disk.crashes
    file?.opens += 1
  }

  /// Closes it. What was written stays as durable as it was.
  public func close() {
    guard isOpen else { return }
    isOpen = false
    if let file, crashes == disk.crashes { disk.closed(file) }
  }

  /// The file that a write would change; nil: a write changes nothing that a crash could tear.
  var writable: SimulatedFile? {
    access == O_RDONLY || file?.device != nil ? nil : file
  }

  /// Reads on where the last of these two stopped, read(2).
  func readOn(into room: UnsafeMutableRawBufferPointer) -> Int {
    let result = read(into: room, at: position)
    if result > 0 { position += Int64(result) }
    return result
  }

  func writeOn(_ bytes: UnsafeRawBufferPointer) -> Int {
    let result = write(bytes, at: position, durable: false)
    if result > 0 { position += Int64(result) }
    return result
  }

  /// Bytes in the file.
  public var size: Int { file?.bytes.count ?? 0 }

  /// What the kernel says to the arguments, before anything is done. 0: nothing.
  private func refuses(_ base: UnsafeRawPointer?, _ count: Int, _ offset: Int64) -> Int32 {
    if offset < 0 { return -EINVAL }
    let alignment = SimulatedFile.sectorBytes
    guard isDirect, file?.device == nil else { return 0 }
    // The memory's alignment is looked at too, but decides only against a caller who errs.
    let isAligned =
      count % alignment == 0 && Int(offset) % alignment == 0
      && Int(bitPattern: base) % alignment == 0
    return isAligned ? 0 : -EINVAL
  }

  /// pread(2). - Returns: bytes, or a negated errno.
  public func read(into room: UnsafeMutableRawBufferPointer, at offset: Int64) -> Int {
    if access == O_WRONLY { return -Int(EBADF) }
    guard let file else { return -Int(EISDIR) }
    switch file.device {
    case .null?: return 0
    case .full?, .zero?:
      room.initializeMemory(as: UInt8.self, repeating: 0)
      return room.count
    case nil: break
    }
    let refusal = refuses(UnsafeRawPointer(room.baseAddress), room.count, offset)
    if refusal != 0 { return Int(refusal) }
    if isBroken { return -Int(EIO) }
    let length = min(room.count, max(0, file.bytes.count - Int(offset)))
    guard length > 0 else { return 0 }
    file.bytes.withUnsafeBytes {
      _ = memcpy(room.baseAddress!, $0.baseAddress! + Int(offset), length)
    }
    return length
  }

  private var isBroken: Bool {
    disk.has(.broken) || world.dice.chance(world.conditions.diskErrors)
  }

  /// pwritev2(2). - Returns: bytes, or a negated errno.
  public func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int64, durable: Bool
  ) -> Int {
    write(bytes, at: offset, durable: durable, isJoined: false)
  }

  /// - Parameter isJoined: the bytes are a copy whose own alignment says nothing.
  func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int64, durable: Bool, isJoined: Bool
  ) -> Int {
    if access == O_RDONLY { return -Int(EBADF) }
    guard let file else { return -Int(EISDIR) }
    switch file.device {
    case .null?, .zero?: return bytes.count
    case .full?: return bytes.count == 0 ? 0 : -Int(ENOSPC)
    case nil: break
    }
    if durable && world.conditions.refusesDurableWrites { return -Int(EOPNOTSUPP) }
    let refusal = refuses(isJoined ? nil : bytes.baseAddress, bytes.count, offset)
    if refusal != 0 { return Int(refusal) }
    if isBroken { return -Int(EIO) }
    var length = bytes.count
    let before = file.footprint
    let growth = max(0, Int(offset) + length - before)
    if growth > 0 && !disk.hasRoom(for: growth) {
      // What fits is written, by sectors; nothing at all is the error.
      let room = disk.has(.noSpace) ? 0 : max(0, world.conditions.diskCapacity - disk.used)
      length = max(0, before + room - Int(offset)) / 512 * 512
      if length <= 0 { return -Int(ENOSPC) }
    } else if length > 512 && world.dice.chance(world.conditions.shortWrites) {
      length = (1 + world.dice.roll(length / 512)) * 512
      length = min(length, bytes.count)
    }
    _ = file.write(
      UnsafeRawBufferPointer(rebasing: bytes[..<length]), at: Int(offset),
      time: disk.wallNanoseconds)
    disk.account(file, before: before)
    if durable { file.makeDurable(Int(offset), Int(offset) + length) }
    return length
  }

  /// fsync(2) or fdatasync(2). - Returns: 0 or a negated errno.
  public func synchronize() -> Int32 {
    if isBroken { return -EIO }
    guard let file else {
      disk.synchronizeNames()
      return 0
    }
    if file.device != nil { return -EINVAL }
    file.makeDurable()
    return 0
  }

  /// fallocate(2), mode 0 or FALLOC_FL_KEEP_SIZE. - Returns: 0 or a negated errno.
  public func allocate(_ offset: Int64, _ length: Int64, keepsSize: Bool = false) -> Int32 {
    if access == O_RDONLY { return -EBADF }
    guard let file else { return -EBADF }
    if offset < 0 || length <= 0 { return -EINVAL }
    if file.device != nil { return -ENODEV }
    let (before, end) = (file.footprint, Int(offset + length))
    guard end > file.bytes.count else { return 0 }
    guard end <= before || disk.hasRoom(for: end - before) else { return -ENOSPC }
    if keepsSize {
      file.reservedEnd = max(file.reservedEnd, end)
    } else {
      file.resize(end, time: disk.wallNanoseconds)
    }
    disk.account(file, before: before)
    return 0
  }

  /// ftruncate(2). - Returns: 0 or a negated errno.
  public func truncate(_ length: Int64) -> Int32 {
    if access == O_RDONLY { return -EINVAL }
    guard let file, file.device == nil, length >= 0 else { return -EINVAL }
    let before = file.footprint
    if Int(length) > before && !disk.hasRoom(for: Int(length) - before) { return -ENOSPC }
    // What was reserved beyond the new end goes, also where the size stays the same.
    file.reservedEnd = min(file.reservedEnd, Int(length))
    file.resize(Int(length), time: disk.wallNanoseconds)
    disk.account(file, before: before)
    return 0
  }

  var status: FileStatus {
    guard let file else {
      return FileStatus(
        mode: UInt16(Glibc.S_IFDIR) | 0o755, size: 4096, blocks: 8, links: 2, inode: 2)
    }
    let type = file.device == nil ? Glibc.S_IFREG : Glibc.S_IFCHR
    return FileStatus(
      mode: UInt16(type) | file.mode, size: Int64(file.bytes.count),
      blocks: Int64((file.footprint + 4095) / 4096 * 8), links: UInt32(max(file.links, 0)),
      inode: file.inode, modifiedNanoseconds: file.modified,
      directAlignment: file.device == nil && !world.conditions.refusesDirect ? 512 : 0)
  }
}
