// Threads, made in one place: named, with a known stack, pinned or not, signals blocked.

import CLinux
import Glibc

/// A thread of the process that runs one function and can be joined.
public struct WorkerThread: Sendable {
  private let handle: pthread_t

  /// 1 MiB, a bound and not a measurement: only the pages that are touched take memory.
  private static let stackBytes = 1 << 20

  private final class Body {
    let name: String
    let cpu: Int?
    let run: @Sendable () -> Void
    init(name: String, cpu: Int?, run: @escaping @Sendable () -> Void) {
      self.name = name
      self.cpu = cpu
      self.run = run
    }
  }

  /// Starts a thread.
  /// - Parameters:
  ///   - name: shown by ps -L and top -H; cut to 15 bytes, pthread_setname_np(3).
  ///   - cpu: the CPU to pin to, or nil.
  ///   - run: what the thread does; it ends when this returns.
  public static func start(
    name: String, cpu: Int?, _ run: @escaping @Sendable () -> Void
  ) throws(SystemFailure) -> WorkerThread {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setstacksize(&attributes, stackBytes)
    var handle = pthread_t()
    // A thread starts with its maker's mask: signals belong to whoever waits for them. Those
    // that a fault raises are left alone, because to block them only hides where it happened; and
    // those by which Swift's runtime stops the other threads of a process that crashes.
    var blocked = sigset_t()
    var before = sigset_t()
    sigfillset(&blocked)
    for signal in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGUSR2, SIGPROF] {
      sigdelset(&blocked, signal)
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before)
    defer { pthread_sigmask(SIG_SETMASK, &before, nil) }
    let body = Unmanaged.passRetained(Body(name: name, cpu: cpu, run: run))
    let code = pthread_create(
      &handle, &attributes,
      { raw in
        let body = Unmanaged<Body>.fromOpaque(raw!).takeRetainedValue()
        clinux_name_self(String(body.name.prefix(15)))
        if let cpu = body.cpu { _ = clinux_pin_self(Int32(cpu)) }
        body.run()
        return nil
      }, body.toOpaque())
    guard code == 0 else {
      body.release()
      throw SystemFailure(code: code, operation: "pthread_create \(name)")
    }
    return WorkerThread(handle: handle)
  }

  /// Waits for the thread's end.
  public func join() { pthread_join(handle, nil) }
}
