// Lines for whoever started the program, written at once: a process that traps in the next moment
// has told everything that it knew.

import Glibc

func printLine(_ line: String) {
  let bytes = Array((line + "\n").utf8)
  var at = 0
  while at < bytes.count {
    let written = bytes.withUnsafeBytes { write(1, $0.baseAddress! + at, bytes.count - at) }
    if written > 0 { at += written } else if errno != EINTR { return }
  }
}
