// What an engine costs before it does anything, and what a wait costs that nothing ends: its start,
// with a first turn of more completions than a small queue holds, and its sleep.

import Glibc
import MillraceEngine

/// Bytes of this process that are in memory, proc_pid_statm(5).
private func residentBytes() -> Int {
  var text = [CChar](repeating: 0, count: 128)
  let file = open("/proc/self/statm", O_RDONLY)
  let count = read(file, &text, text.count - 1)
  close(file)
  precondition(count > 0, "no /proc/self/statm")
  let fields = text[..<count].split(separator: CChar(UInt8(ascii: " ")))
  return Int(String(decoding: fields[1].map { UInt8(bitPattern: $0) }, as: UTF8.self))! * 4096
}

/// Makes an engine, completes `burst` no-operations in one turn, and ends it. The first says what
/// its features have become.
/// - Returns: what it and its work added to the process's memory.
private func liveOnce<E: Engine & ~Copyable>(
  _: E.Type, _ burst: Int, isFirst: Bool = false
) throws -> Int {
  var options = options()
  options.controlOperations = max(options.controlOperations, burst)
  let before = residentBytes()
  var engine = isFirst ? try make(E.self, options) : try E(options)
  for i in 0..<burst { engine.nop(Token(rawValue: UInt64(i))) }
  for _ in 0..<burst { _ = waitForOne(&engine) }
  return residentBytes() - before
}

/// `start SECONDS BURST`: lives of an engine, and the memory of the first.
func measureStart<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count == 2, let seconds = Double(words[0]), let burst = Int(words[1]) else {
    throw Usage()
  }
  let memory = try liveOnce(E.self, burst, isFirst: true)
  let (cpu, wall) = (ownCPU(), wallClock())
  var operations = 0
  while wallClock() - wall < Int64(seconds * 1e9) {
    _ = try liveOnce(E.self, burst)
    operations += 1
  }
  report(operations, cpu: ownCPU() - cpu, wall: wallClock() - wall, " memory \(memory)")
}

/// `sleep SECONDS MICROSECONDS`: waits with a deadline so far ahead, which nothing ends early.
func measureSleep<E: Engine & ~Copyable>(_: E.Type, _ words: [String]) throws {
  guard words.count == 2, let seconds = Double(words[0]), let microseconds = Int64(words[1]) else {
    throw Usage()
  }
  var engine = try make(E.self, options())
  let (cpu, wall) = (ownCPU(), wallClock())
  var operations = 0
  while wallClock() - wall < Int64(seconds * 1e9) {
    engine.refreshClocks()
    let deadline = engine.now + microseconds * 1000
    while engine.now < deadline {
      engine.wait(until: deadline)
      precondition(engine.next() == nil, "something happened where nothing was asked for")
    }
    operations += 1
  }
  report(operations, cpu: ownCPU() - cpu, wall: wallClock() - wall)
}
