// What would change the verdict: sentences that follow from what was measured and configured here,
// and from nothing else.

struct Prospects {
  private let judge: Judge
  private var comparison: Comparison { judge.comparison }

  init(_ judge: Judge) { self.judge = judge }

  /// - Parameter main: the candidate that the headline speaks of.
  func sentences(_ main: Candidate?) -> [String] {
    var sentences: [String] = []
    if let main, Sentences(judge).isSliced {
      sentences += Sentences(judge).minutesThatDecide(main)
    } else if let main, let more = main.roundsNeeded {
      let what = Sentences(judge).list(main.decidable.map(\.label))
      sentences.append("About \(more) more rounds (--rounds) would decide \(what).")
    }
    let hadRoom = rows.filter(\.isLoadBound).map {
      $0.loadHadRoom(comparison.machine.loadProcessors)
    }
    if hadRoom.contains(false) {
      sentences.append(
        "More CPUs for the load (--load-cpus) would give a throughput ratio: here the load was the"
          + " limit.")
    }
    if hadRoom.contains(true) {
      sentences.append(
        "More connections (--connections), or a faster disk or origin, would give a throughput ratio:"
          + " here both proxy and load were waiting for something else.")
    }
    sentences += kernelShare() + batching() + sizes() + commits() + sharedProcessors()
    sentences += refusedFeatures() + loopback()
    let warnings = comparison.findings.count { $0.severity == .warning }
    if warnings > 0 {
      sentences.append(
        "On a quieter machine the intervals would be narrower: \(warnings) finding"
          + "\(warnings == 1 ? "" : "s") on this one below.")
    }
    return sentences
  }

  private var rows: [Row] {
    comparison.stages.flatMap { stage in
      comparison.subjects.map { Row($0, stage, judge.paired.measurements($0.name, stage.name)) }
    }
  }

  private func row(_ subject: SubjectFacts) -> Row? {
    judge.paired.decisiveStage.map {
      Row(subject, $0, judge.paired.measurements(subject.name, $0.name))
    }
  }

  /// Engines differ in how they cross into the kernel, not in what its network stack costs.
  private func kernelShare() -> [String] {
    guard let baseline = judge.baseline, let row = row(baseline),
      let user = row.median(.userPerRequest), let system = row.median(.systemPerRequest)
    else { return [] }
    let share = system / (user + system)
    guard share > 0.5 else { return [] }
    return [
      "\(Figure.percent(share)) of \(baseline.name)'s CPU time is spent in the kernel, mostly in the network"
        + " stack, which every engine needs: workloads with more operations per request (files, audit"
        + " commits, more streams) let an engine save more."
    ]
  }

  private func batching() -> [String] {
    let rows = comparison.subjects.filter { $0.engine == "io_uring" }.compactMap(row)
    guard let turns = rows.compactMap({ $0.median(.completionsPerTurn) }).max(), turns < 4 else {
      return []
    }
    let connections = comparison.measurements.first?.load.connections ?? 0
    return [
      "More connections or more load: with \(connections) connections, an io_uring loop iteration handled"
        + " \(Figure.three(turns)) completions, which share the cost of one system call."
    ]
  }

  private func sizes() -> [String] {
    guard let stage = judge.paired.decisiveStage, let baseline = judge.baseline else { return [] }
    let sizes = judge.paired.measurements(baseline.name, stage.name).compactMap {
      $0.load.completed > 0 ? Double($0.load.bytesReceived) / Double($0.load.completed) : nil
    }
    guard let size = Middle.of(sizes), size > 0 else { return [] }
    guard size < 16_384 else {
      return [
        "Smaller responses: at \(Figure.bytes(size)) each, copying and checksums cost more than"
          + " the number of operations."
      ]
    }
    return [
      "Larger responses: at \(Figure.bytes(size)) each, the number of operations matters more than"
        + " the number of bytes, and splicing or zero copy has little effect."
    ]
  }

  private func commits() -> [String] {
    guard let baseline = judge.baseline, let row = row(baseline),
      let records = row.median(.recordsPerCommit)
    else { return [] }
    return [
      "A disk that commits faster or slower: \(Figure.three(records)) audit records shared a commit"
        + " with \(baseline.name), and a response waits for its commit."
    ]
  }

  /// CPUs that others used, from which on they are called shared.
  private static let sharing = 0.3

  /// io_uring, and a log that is waited for, on a CPU that others use.
  private func sharedProcessors() -> [String] {
    let subjects = comparison.subjects.filter { $0.engine == "io_uring" }
    let course = comparison.course
    guard !course.neighbours.isEmpty || course.elsewhere >= Self.sharing,
      subjects.contains(where: { row($0)?.median(.recordsPerCommit) != nil }),
      !subjects.contains(where: { $0.options["threaded_writes"] != nil })
    else { return [] }
    return [
      "Threads that write io_uring's audit log (--variants epoll,io_uring,io_uring+threaded_writes): other"
        + " processes used the CPUs here, and what waits for a disk in a thread of its own is run earlier."
    ]
  }

  private func refusedFeatures() -> [String] {
    let refused = comparison.machine.features.keys.sorted().compactMap { name in
      TargetFacts.refusal(comparison.machine.features[name], words: ["refused"])
        .map { "\(name) (\($0))" }
    }
    guard !refused.isEmpty else { return [] }
    return [
      "Another kernel or other kernel settings: not available here were \(refused.joined(separator: ", "))."
    ]
  }

  private func loopback() -> [String] {
    let local = ["127.", "localhost", "[::1]"]
    let targets = comparison.workload.loadArguments.filter { $0.contains("://") }
    let isLocal = targets.isEmpty || targets.allSatisfy { t in local.contains { t.contains($0) } }
    guard isLocal else { return [] }
    return [
      "A network card: on loopback there is no device queue to poll (NAPI busy polling) and no"
        + " hardware for zero-copy transmission."
    ]
  }
}
