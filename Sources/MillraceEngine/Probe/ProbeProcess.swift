// A forked child that tells its parent what it finds, through a pipe, in values of one fixed size. It can
// be killed by a seccomp filter, hang or crash without harm to anybody: the parent reads with a
// deadline, kills what is late and always reaps. What the child tries is its caller's.

import CLinux
import Glibc

enum ProbeProcess {
  /// How a child ended.
  enum Ending {
    case exited
    case signalled(Int32)
    /// Killed by the parent at the deadline.
    case hung
    /// There is no child: fork(2) or pipe(2) failed with this errno.
    case notStarted(Int32)

    var isExit: Bool {
      if case .exited = self { true } else { false }
    }
  }

  /// Runs `work` in a child, with the end of a pipe for whole values of `News`, and leaves it by
  /// _exit(2). Call it before the process has threads: of those only the caller exists in the child,
  /// and locks that others held stay locked there.
  /// - Parameters:
  ///   - silenceNanoseconds: how long the child may say nothing.
  ///   - deadline: when it is killed in any case, on the monotonic clock.
  ///   - hear: called in the parent for each value.
  static func run<News: BitwiseCopyable>(
    silenceNanoseconds: Int64, deadline: Int64, hear: (News) -> Void, work: (Int32) -> Void
  ) -> Ending {
    var ends: (Int32, Int32) = (-1, -1)
    let made = withUnsafeMutableBytes(of: &ends) {
      pipe($0.assumingMemoryBound(to: Int32.self).baseAddress!)
    }
    guard made == 0 else { return .notStarted(errno) }
    _ = fcntl(ends.0, F_SETFD, FD_CLOEXEC)
    _ = fcntl(ends.1, F_SETFD, FD_CLOEXEC)
    let child = clinux_fork()
    if child == 0 {
      Glibc.close(ends.0)
      // What the parent has been given is not the child's: a child that hangs would keep it. The pipe is far from
      // the numbers that trials get, one of which may be wrong.
      let moved = fcntl(ends.1, F_DUPFD_CLOEXEC, 512)
      let pipe = moved < 0 ? ends.1 : moved
      clinux_close_all_but(pipe)
      settle()
      work(pipe)
      _exit(0)
    }
    let forkError = errno
    Glibc.close(ends.1)
    defer { Glibc.close(ends.0) }
    guard child > 0 else { return .notStarted(forkError) }
    let late = !collect(from: ends.0, silenceNanoseconds, deadline, hear)
    if late { kill(child, SIGKILL) }
    var status: Int32 = 0
    if late {
      reap(child)
      return .hung
    }
    while waitpid(child, &status, 0) < 0 && errno == EINTR {}
    let signal = clinux_wtermsig(status)
    return signal == 0 ? .exited : .signalled(signal)
  }

  /// Waits a second at most for a child that was killed: one that hangs in the kernel does not end,
  /// and this process must begin without it.
  private static func reap(_ child: Int32) {
    var status: Int32 = 0
    for _ in 0..<500 where waitpid(child, &status, WNOHANG) == 0 { usleep(2000) }
  }

  /// Tells the parent. Smaller than PIPE_BUF: each write arrives whole, pipe(7).
  static func tell<News: BitwiseCopyable>(_ news: News, _ pipe: Int32) {
    withUnsafeBytes(of: news) { _ = Glibc.write(pipe, $0.baseAddress, $0.count) }
  }

  /// Reads until the child's end. - Returns: false when a deadline came first.
  private static func collect<News: BitwiseCopyable>(
    from pipe: Int32, _ silence: Int64, _ deadline: Int64, _ hear: (News) -> Void
  ) -> Bool {
    let size = MemoryLayout<News>.size
    return withUnsafeTemporaryAllocation(of: News.self, capacity: 1) { room in
      var last = SystemClock.monotonicNanoseconds()
      while true {
        let left = min(deadline, last + silence) - SystemClock.monotonicNanoseconds()
        guard left > 0 else { return false }
        var readable = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
        guard poll(&readable, 1, Int32(left / 1_000_000 + 1)) > 0 else { continue }
        let got = Glibc.read(pipe, room.baseAddress, size)
        if got == 0 { return true }
        if got == size {
          last = SystemClock.monotonicNanoseconds()
          hear(room[0])
        }
      }
    }
  }

  /// What makes a child's end harmless.
  private static func settle() {
    // The default action of each signal that may end it: no handler of the parent's may run here,
    // nothing is printed, and no core is dumped.
    for number in [SIGSYS, SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGALRM] {
      _ = signal(number, SIG_DFL)
    }
    var none = rlimit(rlim_cur: 0, rlim_max: 0)
    setrlimit(__rlimit_resource_t(RLIMIT_CORE.rawValue), &none)
    // Should the parent die, the child does not stay.
    alarm(3)
  }
}
