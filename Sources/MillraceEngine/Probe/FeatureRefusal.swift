// A feature of the kernel that a self-test did not get through.

/// A feature that must not be used, after the self-tests.
struct FeatureRefusal: Sendable {
  let feature: EngineFeatures
  /// False where it could not be tried, or where what it builds on was refused.
  let isOfTheKernel: Bool
  let cause: String
}
