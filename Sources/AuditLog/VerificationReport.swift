// The result of a verification as plain values: per chain what was counted and the first bad place,
// if there is one. The command line decides what to print and which exit code a verdict has.

/// A place in a segment and what is wrong there.
public struct VerificationFailure: Equatable, Sendable, CustomStringConvertible {
  /// The file's name in the directory; empty if no file is at fault.
  public var file: String
  /// From 1.
  public var line: Int
  /// From 0.
  public var byte: Int
  public var reason: String

  public var description: String {
    file.isEmpty ? reason : "\(file):\(line) (byte \(byte)): \(reason)"
  }
}

/// What verification says of a chain or of the whole log.
public enum Verdict: Int, Sendable, Comparable {
  /// All that is there is proven.
  case intact
  /// A segment ends in bytes without a seal: a commit is under way, a crash has not been recovered
  /// yet, a commit failed, or the bytes were made to look so (an anchor tells).
  case unsealedTail
  /// Something is damaged, missing or edited.
  case broken

  public static func < (left: Verdict, right: Verdict) -> Bool { left.rawValue < right.rawValue }
}

/// One worker's chain.
// FIELDS: one for each thing that verification counts or finds in a chain; nothing acts on them.
public struct ChainReport: Equatable, Sendable {
  public var worker: Int
  public var segments = 0
  /// Segments that recovery emptied.
  public var emptySegments = 0
  public var batches: UInt64 = 0
  public var records: UInt64 = 0
  public var exchanges: UInt64 = 0
  public var begins: UInt64 = 0
  public var ends: UInt64 = 0
  public var aborts: UInt64 = 0
  public var recoveries: UInt64 = 0
  /// Exchanges that `loss` records count as left unrecorded.
  public var dropped: UInt64 = 0
  /// Sequences that segment headers declare as lost in failed commits.
  public var lost: UInt64 = 0
  /// A `begin` without an `end` or `abort` in the same run: reported, no failure.
  public var unfinished: UInt64 = 0
  /// An `end` without a `begin` in the same run and log: reported, no failure.
  public var unbegun: UInt64 = 0
  /// True if more exchanges were open at once than pairing keeps track of.
  public var pairingIncomplete = false
  /// Seals with a signature; this version does not check signatures.
  public var uncheckedSignatures: UInt64 = 0
  /// False if the oldest segment follows one that is gone (deleted, or never here).
  public var startsAtBeginning = false
  public var firstSequence: UInt64 = 0
  public var lastSequence: UInt64 = 0
  public var lastSeal = SealHash.zero
  /// Bytes that no seal covers: at the chain's end, where a commit is under way or was cut short, or
  /// behind the last seal of a segment whose successor declares the sequences of a failed commit.
  public var unsealedTails: [VerificationFailure] = []
  public var failure: VerificationFailure?

  init(worker: Int) {
    self.worker = worker
  }

  public var verdict: Verdict {
    if failure != nil { return .broken }
    return unsealedTails.isEmpty ? .intact : .unsealedTail
  }
}

/// The whole log.
public struct VerificationReport: Equatable, Sendable {
  /// One per worker, by worker.
  public internal(set) var chains: [ChainReport] = []
  /// Anchors that were found in their chains.
  public internal(set) var anchorsMatched = 0
  /// Anchors older than the oldest segment that is still here.
  public internal(set) var anchorsBeforeStart = 0
  /// Anchors that contradict the log, in words.
  public internal(set) var anchorFailures: [String] = []

  /// The worst of all.
  public var verdict: Verdict {
    let worst = chains.map(\.verdict).max() ?? .intact
    return anchorFailures.isEmpty ? worst : .broken
  }
}
