// The journal's file operations as calls of the engine.

import AuditLog
import MillraceEngine

extension Engine where Self: ~Copyable {
  /// Submits one operation of the journal; its completion carries `token`.
  mutating func submit(_ operation: consuming JournalOperation, _ token: Token) {
    switch consume operation {
    case .open(let path, let flags, let mode):
      self.open(String(cString: path), flags: flags, mode: mode, token)
    case .allocate(let file, let offset, let length):
      allocate(
        Descriptor(rawValue: file), offset: Int64(offset), length: Int64(length),
        keepsSize: true, token)
    case .write(let file, let buffer, let count, let offset, let durable):
      self.write(
        Descriptor(rawValue: file), from: buffer, count: count, offset: Int64(offset),
        durable: durable, token)
    case .sync(let file, let dataOnly):
      synchronize(Descriptor(rawValue: file), dataOnly: dataOnly, token)
    case .truncate(let file, let length):
      truncate(Descriptor(rawValue: file), length: Int64(length), token)
    case .rename(let from, let to):
      rename(String(cString: from), to: String(cString: to), token)
    case .unlink(let path):
      unlink(String(cString: path), token)
    case .close(let file):
      closeFile(Descriptor(rawValue: file), token)
    case .status(let path):
      status(path: String(cString: path), token)
    }
  }
}
