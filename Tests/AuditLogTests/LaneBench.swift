// What the tests of a single lane need: operations as text, and the parts that lanes are given.

import Glibc
import MillraceEngine

@testable import AuditLog

/// An operation as text, with the buffer that a completion has to give back.
struct Asked: ~Copyable {
  var text = "none"
  var buffer: FileBuffer?

  init(_ operation: consuming JournalOperation?) {
    guard let operation = operation.take() else { return }
    switch consume operation {
    case .open(let path, _, _): text = "open \(Self.name(path))"
    case .allocate(let file, _, let length): text = "allocate \(file) \(length)"
    case .write(let file, let buffer, let count, let offset, let durable):
      text = "write \(file) \(offset)+\(count)\(durable ? " durable" : "")"
      self.buffer = consume buffer
    case .sync(let file, let dataOnly): text = "\(dataOnly ? "fdatasync" : "fsync") \(file)"
    case .truncate(let file, let length): text = "truncate \(file) \(length)"
    case .rename(let from, let to): text = "rename \(Self.name(from)) \(Self.name(to))"
    case .unlink(let path): text = "unlink \(Self.name(path))"
    case .close(let file): text = "close \(file)"
    case .status(let path): text = "status \(Self.name(path))"
    }
  }

  private static func name(_ path: UnsafePointer<CChar>) -> String {
    String(cString: path).split(separator: "/").last.map(String.init) ?? ""
  }
}

/// What all lanes work with, and one of them after the other.
struct LaneBench: ~Copyable {
  let paths = JournalPaths(directory: "/log", worker: 3)
  var pool = BatchPool(size: 16 << 10, count: 3, recordMaximum: 4 << 10)
  var segments = LiveSegments(batchSize: 16 << 10)
  var mode = WriteMode(durability: .beforeResponse, usesDirectIO: true)
  var events = JournalEvents()

  init(direct: Bool = true) {
    var segment = OpenSegment(file: 7, number: 1, size: 64 << 10, filled: 32 << 10)
    segment.isDirect = direct
    segments.setReady(segment)
    segments.activateReady(rotateAt: 0)
  }
}
