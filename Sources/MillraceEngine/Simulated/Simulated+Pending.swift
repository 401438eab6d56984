// Operations of the seam that this engine does not do yet.

extension Simulated {
  /// Nothing here is the kernel's.
  public var features: [ProbeFeature] { [] }

  public mutating func registeredBuffer() -> FileBuffer? {
    statistics.registeredBufferRefusals += 1
    return nil
  }
}
