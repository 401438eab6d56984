// The process's side of the workers' control blocks: asking all of them, and waiting for them.

import Glibc
import MillraceEngine
import Synchronization

/// The process's side of the workers' control blocks.
struct ControlBoard: @unchecked Sendable {
  // Sendable: what it points to is made of atomics.
  let controls: UnsafeMutablePointer<WorkerControl>
  let count: Int
  let wakers: WakerBoard

  /// Blocks that live as long as the process.
  init(count: Int) {
    controls = .allocate(capacity: count)
    for i in 0..<count { (controls + i).initialize(to: WorkerControl()) }
    self.count = count
    wakers = WakerBoard(count: count)
  }

  /// Frees the blocks of workers that have ended.
  func deallocate() {
    for i in 0..<count { controls[i].dropPlan() }
    controls.deinitialize(count: count)
    controls.deallocate()
  }

  /// Leaves a plan for each worker.
  func install(_ generation: PlanGeneration) {
    for i in 0..<count { controls[i].leave(generation) }
    request(WorkerRequest.plan)
  }

  func request(_ bits: UInt32) {
    for i in 0..<count {
      controls[i].requests.bitwiseOr(bits, ordering: .releasing)
    }
    wakers.wakeAll()
  }

  /// Whether each worker has taken the plan of this number, or a newer one, or has ended.
  func haveInstalled(_ generation: Int) -> Bool {
    (0..<count).allSatisfy {
      controls[$0].generation.load(ordering: .acquiring) >= generation
        || controls[$0].finished.load(ordering: .acquiring)
    }
  }

  /// Calls all workers: each answers between two turns.
  func callWorkers() {
    for i in 0..<count { controls[i].hasTurned.store(false, ordering: .relaxed) }
    request(WorkerRequest.pulse)
  }

  /// The workers that have not answered the last call, and have not ended.
  var silent: [Int] {
    (0..<count).filter {
      !controls[$0].hasTurned.load(ordering: .acquiring)
        && !controls[$0].finished.load(ordering: .acquiring)
    }
  }

  var allFinished: Bool {
    (0..<count).allSatisfy { controls[$0].finished.load(ordering: .acquiring) }
  }

  /// Whether no worker will accept another connection. After a drain has begun.
  var haveStoppedAccepting: Bool {
    (0..<count).allSatisfy {
      controls[$0].hasStoppedAccepting.load(ordering: .acquiring)
        || controls[$0].finished.load(ordering: .acquiring)
    }
  }

  /// Waits until each worker is ready or has failed. - Returns: true if all are ready.
  func allReady() -> Bool {
    wait(for: WorkerControl.ready, beyond: [WorkerControl.starting, WorkerControl.prepared])
  }

  /// Waits until each worker is ready but for its listeners. - Returns: false if one has failed.
  func allPrepared() -> Bool { wait(for: WorkerControl.prepared, beyond: [WorkerControl.starting]) }

  private func wait(for wanted: Int, beyond passing: [Int]) -> Bool {
    for i in 0..<count {
      while passing.contains(controls[i].state.load(ordering: .acquiring)) {
        Pause.microseconds(200)
      }
    }
    return (0..<count).allSatisfy { controls[$0].state.load(ordering: .acquiring) == wanted }
  }
}
