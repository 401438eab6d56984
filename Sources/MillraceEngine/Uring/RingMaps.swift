// Where the kernel's rings lie in this process: made from what io_uring_setup(2), or a later resize,
// said. It owns nothing: whoever made it unmaps.

import CLinux
import Glibc

/// The two mappings of a ring.
struct RingMaps {
  let rings: UnsafeMutableRawPointer
  let ringBytes: Int
  let entries: UnsafeMutablePointer<clinux_sqe>
  let entriesBytes: Int

  init(
    _ descriptor: Int32, _ parameters: clinux_uring_params, _ flags: UInt32
  ) throws(SystemFailure) {
    let hasArray = flags & UInt32(CLINUX_SETUP_NO_SQARRAY) == 0
    let sqBytes =
      Int(parameters.sq_off.array) + (hasArray ? Int(parameters.sq_entries) * 4 : 0)
    let cqBytes =
      Int(parameters.cq_off.cqes)
      + Int(parameters.cq_entries) * MemoryLayout<clinux_cqe>.stride
    // FEAT_SINGLE_MMAP (5.4): one mapping holds both rings. Every kernel with the features that
    // the ladder's last rung needs has it.
    ringBytes = max(sqBytes, cqBytes)
    entriesBytes = Int(parameters.sq_entries) * MemoryLayout<clinux_sqe>.stride
    let access = PROT_READ | PROT_WRITE
    let rings = mmap(
      nil, ringBytes, access, MAP_SHARED | MAP_POPULATE, descriptor, off_t(CLINUX_OFF_SQ_RING))
    guard let rings, rings != MAP_FAILED else {
      throw SystemFailure(code: errno, operation: "mmap of the rings")
    }
    let slots = mmap(
      nil, entriesBytes, access, MAP_SHARED | MAP_POPULATE, descriptor, off_t(CLINUX_OFF_SQES))
    guard let slots, slots != MAP_FAILED else {
      let failure = SystemFailure(code: errno, operation: "mmap of the submission entries")
      munmap(rings, ringBytes)
      throw failure
    }
    self.rings = rings
    entries = slots.assumingMemoryBound(to: clinux_sqe.self)
    guard hasArray else { return }
    let array = word(parameters.sq_off.array)
    for i in 0..<parameters.sq_entries { array[Int(i)] = i }
  }

  /// A field of the rings' head.
  func word(_ offset: UInt32) -> UnsafeMutablePointer<UInt32> {
    // SAFETY: the kernel's offsets point into the mapping that it made; each field is what the
    // UAPI says it is.
    (rings + Int(offset)).assumingMemoryBound(to: UInt32.self)
  }

  func completions(_ parameters: clinux_uring_params) -> UnsafeMutablePointer<clinux_cqe> {
    // SAFETY: as above.
    (rings + Int(parameters.cq_off.cqes)).assumingMemoryBound(to: clinux_cqe.self)
  }
}
