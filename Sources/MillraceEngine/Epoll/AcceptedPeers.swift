// Who is at the other end of a connection, as accept(2) said. The kernel forgets it when the peer
// resets the connection (getpeername(2): ENOTCONN), so that a client which sends and resets at once
// would have no address by the time that it is asked for.

import CLinux
import Glibc

/// One address per descriptor number, in memory that is touched only where connections are accepted.
struct AcceptedPeers: ~Copyable {
  /// The largest address of an IP socket, struct sockaddr_in6.
  private static let room = 28

  private struct Entry {
    /// The owner of the number that the address is of; an entry of an earlier one is void.
    var generation: UInt32
    /// Bytes of the address; 0: none.
    var length: UInt32
    var address: InlineArray<28, UInt8>
  }

  private let entries: UnsafeMutablePointer<Entry>
  private let limit: Int

  /// - Parameter limit: descriptors, numbered from 0.
  init(limit: Int) {
    self.limit = limit
    let bytes = limit * MemoryLayout<Entry>.stride
    let memory = mmap(
      nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory, memory != MAP_FAILED else {
      // TRAP: address space at start, sized by the configuration.
      preconditionFailure("no address space for the peer addresses of \(limit) descriptors")
    }
    // SAFETY: fresh zero pages; an all-zero entry is one without an address.
    entries = memory.bindMemory(to: Entry.self, capacity: limit)
  }

  deinit { munmap(entries, limit * MemoryLayout<Entry>.stride) }

  /// Accepts a connection into `address`, accept4(2).
  /// - Returns: its number, or -1 with an errno.
  static func accept(_ listener: Int32, flags: Int32, into address: inout SocketAddress) -> Int32 {
    var length = UInt32(MemoryLayout<sockaddr_storage>.size)
    let number = clinux_accept4_from(listener, &address.storage, &length, flags)
    address.length = length
    return number
  }

  /// Notes whose the connection is. The name of a UNIX socket is not kept: the kernel has it for as
  /// long as the connection.
  @inline(__always)
  func note(_ number: Int32, _ generation: UInt32, _ address: borrowing SocketAddress) {
    let length = Int(address.length)
    guard length <= Self.room, !address.isUnix else { return }
    let entry = entries + Int(number)
    entry.pointee.generation = generation
    entry.pointee.length = address.length
    withUnsafeBytes(of: address.storage) { from in
      withUnsafeMutableBytes(of: &entry.pointee.address) { to in
        to.copyMemory(from: UnsafeRawBufferPointer(rebasing: from[..<length]))
      }
    }
  }

  /// The address of the connection that has a number now; nil where none was noted.
  func address(_ number: Int32, _ generation: UInt32) -> SocketAddress? {
    let entry = entries[Int(number)]
    guard entry.generation == generation, entry.length > 0 else { return nil }
    var storage = sockaddr_storage()
    withUnsafeBytes(of: entry.address) { from in
      withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: from) }
    }
    return SocketAddress(storage: storage, length: entry.length)
  }
}
