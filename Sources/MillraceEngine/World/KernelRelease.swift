// The version of the running kernel. A hint only, used where a known bug cannot be tried for: what
// is there is found by doing.

import Glibc

/// Major and minor number of `uname -r`.
struct KernelRelease: CustomStringConvertible {
  let major: Int
  let minor: Int

  static let current: KernelRelease? = {
    var names = utsname()
    guard uname(&names) == 0 else { return nil }
    return withUnsafeBytes(of: &names.release) { bytes in
      KernelRelease(String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self))
    }
  }()

  init?(_ text: String) {
    let parts = text.split(separator: ".")
    guard parts.count >= 2, let major = Int(parts[0]),
      let minor = Int(parts[1].prefix { $0.isNumber })
    else { return nil }
    self.major = major
    self.minor = minor
  }

  /// Both ends included.
  func isBetween(_ first: (Int, Int), and last: (Int, Int)) -> Bool {
    (major, minor) >= first && (major, minor) <= last
  }

  var description: String { "\(major).\(minor)" }
}
