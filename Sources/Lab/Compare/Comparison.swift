// What a comparison measured and concluded, as one plain value that is also its JSON: the runner
// fills the measurements, the verdict fills ratios and recommendation, the report draws both, and
// `--against` reads an earlier one. A field is added, with the empty value of its type as its default,
// and never given another meaning.

/// A comparison, from the machine that it ran on to the recommendation.
public struct Comparison: Codable, Sendable {
  public var schema = newestSchema
  /// When it began, RFC 3339 in UTC.
  public var started = ""
  public var seconds = 0.0
  /// The version of Millrace, and the arguments.
  public var version = ""
  public var command: [String] = []
  public var seed: UInt64 = 0
  public var machine = MachineFacts()
  /// What makes this machine less fit to measure on, in words, most serious first.
  public var findings: [MachineFinding] = []
  public var workload = WorkloadFacts()
  public var course = CourseFacts()
  /// Where the proxy shall run in the end, if that is not here.
  public var target: TargetFacts?
  public var subjects: [SubjectFacts] = []
  /// The name of the subject that the others are compared with.
  public var baseline = ""
  public var stages: [StageFacts] = []
  /// One for each round, stage and subject, in the order in which they ran.
  public var measurements: [Measurement] = []
  public var ratios: [Ratio] = []
  public var verdict = Verdict()

  public init() {}
}

public struct MachineFacts: Codable, Sendable {
  public var kernel = ""
  public var distribution = ""
  public var processor = ""
  /// CPUs that this process may use.
  public var processors: [Int] = []
  /// Which of them the proxy, and the load with the origin, are pinned to.
  public var proxyProcessors: [Int] = []
  public var loadProcessors: [Int] = []
  public var memoryBytes = 0
  /// Scaling governor, boost, mitigations, virtualisation, container, cgroup quota: name and value.
  public var settings: [String: String] = [:]
  /// Features of the kernel by name: on, off or refused, and why.
  public var features: [String: String] = [:]

  public init() {}
}

public struct MachineFinding: Codable, Sendable {
  public enum Severity: String, Codable, Sendable {
    /// The comparison does not run (unless forced).
    case refusal
    /// It runs, and the report says so.
    case warning
  }
  public var severity: Severity
  /// What is so, what it does to the figures, and what to do.
  public var text: String

  public init(_ severity: Severity, _ text: String) {
    self.severity = severity
    self.text = text
  }
}

public struct WorkloadFacts: Codable, Sendable {
  public var name = ""
  public var description = ""
  /// Arguments of `millrace load`, less rate and duration, and of `millrace origin` (empty where
  /// the user's own origin is used).
  public var loadArguments: [String] = []
  public var originArguments: [String] = []
  /// How the planned requests of the rate stages are spaced: constant or poisson. Empty in what an
  /// older build wrote, as the seconds are 0 there.
  public var pacing = ""
  /// Seconds of each measurement that count, and of load before them.
  public var countedSeconds = 0.0
  public var warmUpSeconds = 0.0
  /// Files that went into it, by name with their text.
  public var files: [String: String] = [:]

  public init() {}
}

/// How the time was spent, and what the machine did in it.
public struct CourseFacts: Codable, Sendable {
  /// slices: all subjects run at once and the load moves between them; rounds: one after the other,
  /// also where an older build left it empty.
  public var method = ""
  /// Why there were rounds and no slices.
  public var reason = ""
  /// Seconds of the slices' course, and what share of the planned time it was when nothing was open.
  public var seconds = 0.0
  public var plannedSeconds = 0.0
  public var slices = 0
  /// Slices that were left out because more than `stolenBound` of the CPU time was stolen.
  public var leftOut = 0
  public var stolenBound = 0.0
  /// Mean and largest share of the CPU time that was stolen during a slice.
  public var stolen = 0.0
  public var stolenMaximum = 0.0
  /// Mean and largest use of CPUs by what was not started here, during a slice; kernel threads and
  /// interrupts outside of processes are in it.
  public var elsewhere = 0.0
  public var elsewhereMaximum = 0.0
  /// MHz of the proxy's CPU, lowest and highest; 0: not visible.
  public var megahertzLowest = 0.0
  public var megahertzHighest = 0.0
  /// CPUs that all subjects together used while they were not asked.
  public var idle = 0.0
  /// Subjects that were stopped (SIGSTOP) between their slices, because they cost something when idle.
  public var parked: [String] = []
  /// Deciding quantities that were chosen (`--decide-by`), as `DecidingQuantity` writes them.
  public var decidedBy: [String] = []
  /// CPUs on which another process ran all the time (`--neighbour`).
  public var neighbours: [Int] = []

  public init() {}
}

public struct SubjectFacts: Codable, Sendable {
  public enum Kind: String, Codable, Sendable {
    /// Millrace with an engine and options.
    case variant
    /// Another proxy, found on this machine.
    case peer
  }
  public var name = ""
  public var kind = Kind.variant
  /// For variants the engine: io_uring or epoll.
  public var engine: String?
  /// Options of the engine that differ from the defaults, by name.
  public var options: [String: String] = [:]
  public var program = ""
  public var version = ""
  public var arguments: [String] = []
  /// Every configuration file, by name with its text.
  public var configurations: [String: String] = [:]
  /// Whether it is tuned by its own documentation (named in `source`), or runs at its defaults.
  public var isTuned = false
  public var source: String?
  /// Why it could not be measured; nil if it was.
  public var failure: String?

  public init() {}
}

/// A load that every subject gets.
public struct StageFacts: Codable, Sendable {
  public enum Kind: String, Codable, Sendable {
    /// Closed loop: as much as it can.
    case maximum
    /// The same rate for all, open loop.
    case rate
  }
  public var name = ""
  public var kind = Kind.maximum
  /// Requests per second; nil at the maximum.
  public var rate: Double?
  /// How the rate was chosen, in words.
  public var reason = ""

  public init() {}
}

/// One subject under one stage in one round. Seconds are CPU seconds during the counted part.
public struct Measurement: Codable, Sendable {
  public var round = 0
  public var stage = ""
  public var subject = ""
  public var load = LoadResult()
  /// CPU seconds of the proxy's processes: exact.
  public var processSeconds = 0.0
  /// The same split in user and system: sampled by the kernel at its tick.
  public var userSeconds = 0.0
  public var systemSeconds = 0.0
  /// Busy seconds of the whole machine, kernel threads and interrupts included.
  public var machineSeconds = 0.0
  /// Busy share of each CPU, 0 to 1, by its number.
  public var processorBusy: [String: Double] = [:]
  /// Busy share of the proxy's CPUs; below 0.95 at the maximum, the load was the limit.
  public var proxyBusy = 0.0
  public var contextSwitches: Int?
  public var involuntarySwitches: Int?
  /// Times that a thread went on after it had waited: voluntary context switches.
  public var wakeUps: Int?
  /// User and kernel, where the machine counts them.
  public var instructions: Int?
  public var systemCalls: Int?
  public var turns: Int?
  public var completions: Int?
  /// Bytes that the kernel copied between sockets and the proxy's buffers, both ways.
  public var bytesCopied: Int?
  public var completionQueueOverflows: Int?
  /// Resident memory at the end of the stage.
  public var residentBytes: Int?
  public var auditRecords: Int?
  public var auditCommits: Int?
  /// Why this measurement must not count (failed requests, the proxy died); nil if it does.
  public var failure: String?
  /// Of a batch of slices: each of them that counts. Empty where the measurement is one long load.
  public var slices: [SliceFacts] = []
  /// The look that the batch came before, 1 to 4; 0 without looks.
  public var look = 0

  public init() {}

  /// Good responses that came within the counted part: what its CPU seconds were spent on. At a rate
  /// that was not held, `load.completed` has those too that came later.
  var requestsInTime: Double { load.completedRate * load.seconds }
}

/// One slice: a short load on one subject, from its first request to its last response.
public struct SliceFacts: Codable, Sendable {
  /// Slices of the same block are paired: they follow each other.
  public var block = 0
  /// Seconds of the counted part, and good responses in them.
  public var seconds = 0.0
  public var completed = 0.0
  /// Good responses of the whole slice, its lead-in too: what the CPU seconds were spent on.
  public var responses = 0
  /// CPU seconds of the subject's processes: exact.
  public var processSeconds = 0.0
  /// Busy seconds of the machine, to the tick.
  public var machineSeconds = 0.0
  /// p50, p90 and p99 of the counted part, nanoseconds.
  public var latency: [Int] = []
  /// Share of the machine's CPU time that was stolen, and CPUs that others used.
  public var stolen = 0.0
  public var elsewhere = 0.0

  public init() {}
}

/// A subject compared with the baseline in one quantity.
public struct Ratio: Codable, Sendable {
  public enum Outcome: String, Codable, Sendable {
    case better, worse
    /// The whole interval lies within the equivalence bound.
    case same
    /// The interval reaches across the bound: more rounds would tell.
    case undecided
    /// Not measured: load-bound, or a measurement failed; `reason` says which.
    case none
  }
  public var subject = ""
  public var baseline = ""
  public var stage = ""
  /// throughput, p50, p99, p999, cpu_per_request, machine_per_request, memory, …
  public var quantity = ""
  /// Geometric mean of the paired ratios, subject to baseline; nil where there is no interval.
  public var estimate: Double?
  /// The 99% interval.
  public var low: Double?
  public var high: Double?
  public var pairs = 0
  public var outcome = Outcome.none
  public var reason: String?
  /// Of what is undecided: better or worse where the 90% interval excludes 1 and the estimate lies outside
  /// of the bound; otherwise none.
  public var likely = Outcome.none
  /// How probable it is that the truth lies on the estimate's side of 1.
  public var probability: Double?
  /// Of what is undecided: the length of a comparison that would decide it, by the observed variance.
  public var minutes: Double?

  public init() {}
}

/// The answer in plain language.
public struct Verdict: Codable, Sendable {
  /// The name of the recommended subject; nil: no difference that matters.
  public var recommended: String?
  /// One sentence: what to run, and what it brings.
  public var headline = ""
  /// Why, what it costs, and where it is not allowed; a sentence each.
  public var reasons: [String] = []
  /// What could change the verdict; a sentence each.
  public var wouldChange: [String] = []
  /// decided, likely, same or undecided; empty without a comparison.
  public var grade = ""

  public init() {}
}
