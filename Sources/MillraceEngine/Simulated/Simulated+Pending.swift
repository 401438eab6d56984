// Operations of the seam that this engine does not do yet.

extension Simulated {
  public var features: [ProbeFeature] { [] }
  public mutating func registeredBuffer() -> FileBuffer? { pending() }
}
