// Which features an engine uses, and of each that it does not use the reason: asked for by nobody,
// given up with something else, or refused by this kernel.

import Glibc

struct FeatureUse {
  private(set) var active: EngineFeatures
  private let wanted: EngineFeatures
  /// Why a feature that was wanted is not used, in the order in which that was found.
  private var refusals: [(feature: EngineFeatures, cause: String)] = []
  /// Features that are given up for another one: no refusal of the kernel's.
  private var yielded: [(feature: EngineFeatures, cause: String)] = []

  /// - Parameters:
  ///   - concerned: features of this engine.
  ///   - options: what of them is wanted, and what a self-test refused.
  init(_ concerned: EngineFeatures, _ options: EngineOptions) {
    wanted = options.features.intersection(concerned)
    active = wanted
    for refusal in options.refusals {
      if refusal.isOfTheKernel {
        refuse(refusal.feature, refusal.cause)
      } else {
        giveUp(refusal.feature, refusal.cause)
      }
    }
  }

  /// Those that this kernel does not let us use.
  var refused: EngineFeatures {
    refusals.reduce(into: EngineFeatures()) { $0.formUnion($1.feature) }
  }

  @inline(__always)
  func contains(_ feature: EngineFeatures) -> Bool { active.contains(feature) }

  /// The kernel does not let us. Nothing happens to a feature that is not in use.
  mutating func refuse(_ feature: EngineFeatures, _ cause: String) {
    guard active.contains(feature) else { return }
    active.remove(feature)
    refusals.append((feature, cause))
  }

  mutating func refuse(_ feature: EngineFeatures, errno code: Int32) {
    refuse(feature, Self.words(feature, code))
  }

  /// Something else that was asked for excludes it.
  mutating func giveUp(_ feature: EngineFeatures, _ cause: String) {
    guard active.contains(feature) else { return }
    active.remove(feature)
    yielded.append((feature, cause))
  }

  /// What an errno says of a feature, with the version of Linux that brings it.
  static func words(_ feature: EngineFeatures, _ code: Int32) -> String {
    let text = ErrorText.full(code)
    guard code == EINVAL || code == ENOSYS || code == EOPNOTSUPP else { return text }
    return "\(text): requires Linux \(EngineFeatures.firstVersion(feature))"
  }

  /// One line for each feature that concerns this engine, in the order of `EngineFeatures.all`.
  func report(_ engine: EngineKind) -> [ProbeFeature] {
    EngineFeatures.all.compactMap { feature, name, of in
      guard of == nil || of == engine else { return nil }
      if active.contains(feature) { return ProbeFeature(name: name, state: .on, cause: "") }
      if let refusal = refusals.first(where: { $0.feature == feature }) {
        return ProbeFeature(name: name, state: .refused, cause: refusal.cause)
      }
      if let reason = yielded.first(where: { $0.feature == feature }) {
        return ProbeFeature(name: name, state: .off, cause: reason.cause)
      }
      let isStandard = EngineFeatures.standard.contains(feature)
      return ProbeFeature(
        name: name, state: .off, cause: isStandard ? "disabled" : "off by default")
    }
  }
}

extension EngineFeatures {
  /// The first version of Linux that has a feature.
  static func firstVersion(_ feature: EngineFeatures) -> String {
    switch feature {
    case .deferTaskrun: "6.1"
    case .noSQArray: "6.6"
    case .multishotAccept, .directDescriptors: "5.19"
    case .multishotReceive: "6.0"
    case .quietSends, .linkedChains: "5.17"
    case .registeredRing, .ringMessages: "5.18"
    case .registeredBuffers: "5.1"
    case .zeroCopySend: "6.1"
    case .workerLimits: "5.15"
    case .submissionThread: "5.13"
    case .minWait, .incrementalBuffers: "6.12"
    case .receiveBundles: "6.10"
    case .ringResize: "6.13"
    case .workerAffinity: "5.14"
    case .busyPoll: "6.9"
    default: "5.11"
    }
  }
}
