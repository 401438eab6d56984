// What the library in front of the heap and of the reference counts has counted so far.

import Glibc

struct Figures {
  static let names = ["malloc", "free", "retain", "release", "access"]

  var values: (UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0)

  private typealias Reader = @convention(c) (UnsafeMutableRawPointer) -> Void
  private static let reader: Reader? = {
    guard let symbol = dlsym(UnsafeMutableRawPointer(bitPattern: 0), "steady_state_figures") else {
      return nil
    }
    return unsafeBitCast(symbol, to: Reader.self)
  }()

  static var isCounting: Bool { reader != nil }

  static func now() -> Figures {
    var figures = Figures()
    withUnsafeMutableBytes(of: &figures.values) { reader?($0.baseAddress!) }
    return figures
  }

  /// How much of each came since.
  func since(_ before: Figures) -> [UInt64] {
    [
      values.0 - before.values.0, values.1 - before.values.1, values.2 - before.values.2,
      values.3 - before.values.3, values.4 - before.values.4,
    ]
  }
}
