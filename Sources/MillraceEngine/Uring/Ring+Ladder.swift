// Which sets of set-up flags the engine can run on, best first, and what of them remains when an
// operator switches features off.

import CLinux

extension Ring {
  /// Half of the completion queue that `EngineFeatures.ringResize` starts with: 2048 completions
  /// are 32 KiB, a first-level cache of today.
  static let smallCompletions = 1024

  /// From the best to the plainest set of flags that this engine can run on. DEFER_TASKRUN (6.1)
  /// runs completions inside our own enter only: batched and cache hot. NO_SQARRAY is 6.6.
  static let ladder: [UInt32] = {
    let base = UInt32(CLINUX_SETUP_CQSIZE | CLINUX_SETUP_CLAMP)
    let all = UInt32(CLINUX_SETUP_SUBMIT_ALL)
    let single = UInt32(CLINUX_SETUP_SINGLE_ISSUER)
    let deferred = UInt32(CLINUX_SETUP_DEFER_TASKRUN)
    let cooperative = UInt32(CLINUX_SETUP_COOP_TASKRUN)
    let noArray = UInt32(CLINUX_SETUP_NO_SQARRAY)
    return [
      base | all | single | deferred | noArray,
      base | all | single | deferred,
      base | all | single | cooperative,
      base | all | cooperative,
    ]
  }()

  /// The rungs that keep to what is wanted: the ladder (or the one rung that the probe proved),
  /// less what is switched off, without repetitions.
  static func rungs(_ features: EngineFeatures, proved: UInt32, cpu: Int?) -> [UInt32] {
    var rungs: [UInt32] = []
    for flags in proved != 0 ? [proved] : ladder {
      let rung = masked(flags, by: features, cpu: cpu)
      if !rungs.contains(rung) { rungs.append(rung) }
    }
    return rungs
  }

  private static func masked(_ rung: UInt32, by features: EngineFeatures, cpu: Int?) -> UInt32 {
    let deferred = UInt32(CLINUX_SETUP_DEFER_TASKRUN)
    let cooperative = UInt32(CLINUX_SETUP_COOP_TASKRUN)
    var flags = rung
    if !features.contains(.noSQArray) { flags &= ~UInt32(CLINUX_SETUP_NO_SQARRAY) }
    if !features.contains(.deferTaskrun), flags & deferred != 0 {
      flags = flags & ~deferred | cooperative
    }
    if features.contains(.submissionThread) {
      // Completions run in the kernel's thread: neither flag makes sense there (EINVAL).
      flags = flags & ~(deferred | cooperative) | UInt32(CLINUX_SETUP_SQPOLL)
      if cpu != nil { flags |= UInt32(CLINUX_SETUP_SQ_AFF) }
    }
    return flags
  }
}
