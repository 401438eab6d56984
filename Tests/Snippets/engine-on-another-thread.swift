// error: capture of 'engine' with non-Sendable type 'Uring' in a '@Sendable' closure
// An engine belongs to the thread that made it; its waker is what other threads may hold.
import MillraceEngine

func share(_ engine: consuming Uring) throws {
  #if TWIN
    let waker = engine.waker
    try WorkerThread.start(name: "other", cpu: nil) { waker.wake() }.join()
  #else
    try WorkerThread.start(name: "other", cpu: nil) { engine.wait(until: nil) }.join()
  #endif
}
