// The numbers by which an engine's sockets and files are named.

/// A file descriptor that an engine made. The engine that made it is the only one to use it.
public struct Descriptor: Equatable, Sendable {
  public let rawValue: Int32
  @inline(__always)
  public init(rawValue: Int32) { self.rawValue = rawValue }
  /// False for `none`, and for what a failed operation would have made.
  @inline(__always)
  public var isValid: Bool { rawValue >= 0 }
  /// No descriptor: -1.
  public static let none = Descriptor(rawValue: -1)

  /// Set in the number of a direct slot.
  static let directBit: Int32 = 1 << 30
  /// A slot in the engine's table of registered files instead of a number of the process's: other
  /// system calls cannot use it.
  @inline(__always)
  public var isDirect: Bool { rawValue >= Self.directBit }
  /// The place in the table. - Precondition: `isDirect`.
  @inline(__always)
  var slot: Int32 { rawValue & ~Self.directBit }
  init(slot: Int) { rawValue = Self.directBit | Int32(slot) }
}
