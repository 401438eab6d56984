// The numbers of the system calls that CLinux makes by number, against what the headers of this
// machine say of them, and against the kernel.

import CLinux
import CNumbers
import Glibc
import Testing

@Suite struct SystemCallNumberTests {
  /// A call: our numbers, its place in what a header says, and what a call that does
  /// nothing is refused with (kernels differ in what they look at first).
  struct Call: Sendable, CustomTestStringConvertible {
    let name: String
    let x86: Int
    let arm64: Int
    let listed: @Sendable (cnumbers) -> Int
    let refusals: [Int32]
    var testDescription: String { name }
  }

  static let calls = [
    Call(
      name: "io_uring_setup", x86: Int(CLINUX_X86_64_io_uring_setup),
      arm64: Int(CLINUX_ARM64_io_uring_setup), listed: { $0.io_uring_setup }, refusals: [EFAULT]),
    Call(
      name: "io_uring_enter", x86: Int(CLINUX_X86_64_io_uring_enter),
      arm64: Int(CLINUX_ARM64_io_uring_enter), listed: { $0.io_uring_enter }, refusals: [EBADF]),
    Call(
      name: "io_uring_register", x86: Int(CLINUX_X86_64_io_uring_register),
      arm64: Int(CLINUX_ARM64_io_uring_register), listed: { $0.io_uring_register },
      refusals: [EBADF]),
    Call(
      name: "statx", x86: Int(CLINUX_X86_64_statx), arm64: Int(CLINUX_ARM64_statx),
      listed: { $0.statx }, refusals: [EFAULT]),
    Call(
      name: "epoll_pwait2", x86: Int(CLINUX_X86_64_epoll_pwait2),
      arm64: Int(CLINUX_ARM64_epoll_pwait2), listed: { $0.epoll_pwait2 }, refusals: [EBADF, EINVAL]),
    Call(
      name: "perf_event_open", x86: Int(CLINUX_X86_64_perf_event_open),
      arm64: Int(CLINUX_ARM64_perf_event_open), listed: { $0.perf_event_open },
      refusals: [EFAULT, EINVAL, EACCES]),
  ]

  /// What this is compiled for.
  static func own(_ call: Call) -> Int {
    #if arch(arm64)
      call.arm64
    #else
      call.x86
    #endif
  }

  /// A header that is older than a call says nothing of it; Linux 5.1 brought io_uring, so that the
  /// headers of any distribution that can build this know five of the six.
  @Test func theNumbersOfThisArchitectureAreTheLibrarys() {
    let library = cnumbers_of_libc()
    let known = Self.calls.filter { $0.listed(library) >= 0 }
    #expect(known.count >= 5)
    for call in known { #expect(Self.own(call) == call.listed(library), "\(call.name)") }
  }

  @Test func theNumbersOfArm64AreTheGenericTables() {
    let table = cnumbers_of_generic_table()
    let known = Self.calls.filter { $0.listed(table) >= 0 }
    #expect(known.count >= 5)
    for call in known { #expect(call.arm64 == call.listed(table), "\(call.name)") }
    // Not x86-64's by mistake: a call on which the two differ.
    #expect(table.statx != Int(CLINUX_X86_64_statx))
  }

  /// A wrong number would reach another call, which refuses in another way or does not.
  @Test(arguments: calls) func theKernelKnowsTheNumber(_ call: Call) {
    let answer = cnumbers_try(Self.own(call))
    if call.name.hasPrefix("io_uring"), Contract.ringFailure != nil {
      // A filter or a sysctl may answer in the call's place.
      #expect((call.refusals + [EPERM, ENOSYS]).contains(answer))
    } else {
      #expect(call.refusals.contains(answer), "\(answer)")
    }
  }
}
