// The file operations of the self-test, in a temporary file of its own. A directory that cannot be
// written says nothing of the ring, so nothing here refuses the engine.

import CLinux
import Glibc

extension ProbeScript {
  /// Tries each file operation; stops at the first that fails, after removing the file.
  mutating func files(_ notes: ProbeNotes) {
    let directory = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    let path = "\(directory)/.millrace-probe-\(getpid())"
    notes.begin(.fileOpen)
    let open = token()
    engine.open(path, flags: O_RDWR | O_CREAT | O_EXCL, mode: 0o600, open)
    let opened = result(of: open)
    notes.end(.fileOpen, min(opened, 0))
    guard opened >= 0 else { return }
    let file = Descriptor(rawValue: opened)
    let steps: [ProbeStep] = [.fileWrite, .fileSynchronize, .fileTruncate, .fileRename]
    for step in steps {
      notes.begin(step)
      let result = perform(step, file, path)
      notes.end(step, result)
      if result != 0 { break }
    }
    notes.begin(.fileUnlink)
    notes.end(.fileUnlink, remove(path))
    let close = token()
    engine.closeFile(file, close)
    _ = result(of: close)
  }

  private mutating func perform(_ step: ProbeStep, _ file: Descriptor, _ path: String) -> Int32 {
    let token = token()
    switch step {
    case .fileWrite:
      let buffer = FileBuffer(capacity: 4096)
      memset(buffer.base, 10, 4096)
      engine.write(file, from: buffer, count: 4096, offset: 0, durable: true, token)
      let written = result(of: token)
      return written == 4096 ? 0 : written < 0 ? written : ProbeOutcome.wrong
    case .fileSynchronize: engine.synchronize(file, dataOnly: true, token)
    case .fileTruncate: engine.truncate(file, length: 1, token)
    default: engine.rename(path, to: path + "-renamed", token)
    }
    return result(of: token)
  }

  /// Removes the file under whichever of its names it has.
  private mutating func remove(_ path: String) -> Int32 {
    let renamed = token()
    engine.unlink(path + "-renamed", renamed)
    let first = result(of: renamed)
    guard first == -ENOENT else { return first }
    let original = token()
    engine.unlink(path, original)
    return result(of: original)
  }
}
