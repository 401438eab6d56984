// Shares seeds among processes of this program, adds up what they tell, and says it to a person. A
// process that dies has died of the seed that it began last: that is a failure too, and another
// process goes on behind it.

import Glibc

final class ProcessPool {
  private struct Member {
    var process: pid_t
    var pipe: Int32
    var partial: [UInt8] = []
    var seed: UInt64
    var done = 0
    var share: Int
    var first: UInt64
  }

  private let first: UInt64
  private let count: Int
  private let jobs: Int
  private var members: [Member] = []
  private var totals = Totals()
  private var finished = 0
  private var failedSeeds: [UInt64] = []
  private let started = ProcessPool.seconds()
  private var lastReport = 0.0

  init(from first: UInt64, count: Int, jobs: Int) {
    self.first = first
    self.count = count
    self.jobs = jobs
  }

  private static func seconds() -> Double {
    var t = timespec()
    clock_gettime(CLOCK_MONOTONIC, &t)
    return Double(t.tv_sec) + Double(t.tv_nsec) / 1e9
  }

  /// - Returns: the exit status.
  func run() -> Int32 {
    for job in 0..<jobs {
      let share = (count - job + jobs - 1) / jobs
      if share > 0 { start(first &+ UInt64(job), share) }
    }
    while !members.isEmpty { listen() }
    report(isLast: true)
    if failedSeeds.isEmpty { return 0 }
    printLine("FAILED seeds: \(failedSeeds.map(String.init).joined(separator: " "))")
    printLine("again: make simulate SEED=\(failedSeeds[0]) COUNT=1 VERBOSE=1")
    return 1
  }

  private func start(_ seed: UInt64, _ share: Int) {
    var ends: [Int32] = [0, 0]
    guard pipe(&ends) == 0 else { preconditionFailure("pipe: \(errno)") }
    _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
    posix_spawn_file_actions_addclose(&actions, ends[1])
    let words = [
      "simulate", "--child", "--seed", "\(seed)", "--step", "\(jobs)", "--count", "\(share)",
    ]
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    var process: pid_t = 0
    let code = posix_spawn(&process, "/proc/self/exe", &actions, nil, arguments, environ)
    for argument in arguments { free(argument) }
    posix_spawn_file_actions_destroy(&actions)
    close(ends[1])
    guard code == 0 else { preconditionFailure("posix_spawn: \(code)") }
    members.append(
      Member(process: process, pipe: ends[0], seed: seed, share: share, first: seed))
  }

  private func listen() {
    var polls = members.map { pollfd(fd: $0.pipe, events: Int16(POLLIN), revents: 0) }
    _ = poll(&polls, nfds_t(polls.count), 1000)
    for i in polls.indices.reversed() where polls[i].revents != 0 { read(i) }
    if Self.seconds() - lastReport >= 5 { report(isLast: false) }
  }

  private func read(_ i: Int) {
    var room = [UInt8](repeating: 0, count: 65_536)
    let count = Glibc.read(members[i].pipe, &room, room.count)
    if count <= 0 { return ended(i) }
    members[i].partial += room[..<count]
    while let end = members[i].partial.firstIndex(of: 10) {
      let line = String(decoding: members[i].partial[..<end], as: UTF8.self)
      members[i].partial.removeFirst(end + 1)
      take(line, i)
    }
  }

  private func take(_ line: String, _ i: Int) {
    let words = line.split(separator: " ")
    switch words.first {
    case "@": members[i].seed = words.count > 1 ? UInt64(words[1]) ?? 0 : 0
    case "=":
      totals += Totals(words: Array(words.dropFirst()))
      members[i].done += 1
      finished += 1
    case "!":
      failed(members[i].seed)
      printLine("FAILED seed \(line.dropFirst(2))")
    case "~": printLine("    \(line.dropFirst(2))")
    default: printLine(line)
    }
  }

  private func failed(_ seed: UInt64) {
    if failedSeeds.last != seed { failedSeeds.append(seed) }
  }

  private func ended(_ i: Int) {
    var status: Int32 = 0
    waitpid(members[i].process, &status, 0)
    close(members[i].pipe)
    let member = members.remove(at: i)
    if member.done == member.share { return }
    failed(member.seed)
    let signal = status & 0x7F
    printLine(
      "FAILED seed \(member.seed) died: \(signal == 0 ? "status \(status >> 8)" : "signal \(signal)")"
    )
    finished += 1
    let left = member.share - member.done - 1
    // A product that dies everywhere need not be watched dying a thousand times.
    if left > 0 && failedSeeds.count < 20 { start(member.seed &+ UInt64(jobs), left) }
  }

  private func report(isLast: Bool) {
    lastReport = Self.seconds()
    let time = lastReport - started
    let rate = Double(finished) / max(time, 0.001)
    printLine(
      "simulated \(finished)/\(count) seeds from \(first) in \(Int(time)) s, "
        + "\(Int(rate.rounded()))/s (each twice), failed \(failedSeeds.count), "
        + "requests \(totals.requests), responses \(totals.responses), records \(totals.records)")
    if isLast { printLine("totals: \(totals.words.joined(separator: " "))") }
  }
}
