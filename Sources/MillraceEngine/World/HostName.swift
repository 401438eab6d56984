// Who this process is to the receivers of its messages.

import Glibc

package enum HostName {
  /// The host's name, gethostname(2); empty where it cannot be told.
  package static var current: String {
    // HOST_NAME_MAX is 64 on Linux (limits.h).
    var name = [CChar](repeating: 0, count: 65)
    guard gethostname(&name, name.count - 1) == 0 else { return "" }
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// The process's number.
  package static var process: Int { Int(getpid()) }
}
