// The other end of `millrace compare`: orders of slices come in by one named pipe, and what they gave
// goes out by another. `compare` makes both, and holds them open; when it is gone, so is this.

import Glibc
import Lab

/// Two named pipes, `PATH.orders` and `PATH.answers`.
struct SlicePipes {
  private let orders: Int32
  private let answers: Int32

  /// nil where they cannot be opened.
  init?(_ path: String) {
    orders = open(path + ".orders", O_RDONLY | O_CLOEXEC)
    answers = open(path + ".answers", O_WRONLY | O_CLOEXEC)
    guard orders >= 0, answers >= 0 else { return nil }
  }

  var service: LoadSliceService {
    LoadSliceService(
      ready: { say(Array("ready\n".utf8)) },
      next: {
        while let line = readLine() {
          if let slice = LoadSlice(line: line) { return slice }
        }
        return nil
      },
      drained: { say(Array("drained\n".utf8)) }, deliver: { say($0.json()) })
  }

  /// A line, a byte at a time: an order is some sixty of them. nil at the end.
  private func readLine() -> String? {
    var line: [UInt8] = []
    var byte: UInt8 = 0
    while line.count < 4096 {
      let got = read(orders, &byte, 1)
      if got < 0 && errno == EINTR { continue }
      guard got == 1 else { return nil }
      if byte == UInt8(ascii: "\n") { return String(decoding: line, as: UTF8.self) }
      line.append(byte)
    }
    return nil
  }

  private func say(_ bytes: [UInt8]) {
    var rest = bytes[...]
    while !rest.isEmpty {
      let put = rest.withUnsafeBytes { write(answers, $0.baseAddress, $0.count) }
      if put < 0 && errno == EINTR { continue }
      guard put > 0 else { return }
      rest = rest.dropFirst(put)
    }
  }
}
