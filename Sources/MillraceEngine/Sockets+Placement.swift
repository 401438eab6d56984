// Where connections come from and which CPU they are for: the system calls, the same for both
// engines.

import CLinux
import Glibc

extension Sockets {
  /// Gives a socket that is about to connect its local end.
  /// - Returns: 0 or a negated errno.
  static func bind(_ descriptor: Int32, to origin: ConnectionOrigin) -> Int32 {
    if let ports = origin.ports {
      // Kernels before 6.3 do not know it: the host's range is used.
      let range = UInt32(ports.upperBound) << 16 | UInt32(ports.lowerBound)
      set(
        descriptor, Int32(IPPROTO_IP), Int32(CLINUX_IP_LOCAL_PORT_RANGE), Int32(bitPattern: range))
    }
    guard let address = origin.address else { return 0 }
    if address.port == 0 {
      // The port is chosen at connect(2), when the destination is known.
      set(descriptor, Int32(IPPROTO_IP), Int32(CLINUX_IP_BIND_ADDRESS_NO_PORT), 1)
    }
    return withAddress(address) { Glibc.bind(descriptor, $0, $1) } == 0 ? 0 : -errno
  }

  /// An unconnected socket for `address` that comes from `origin`.
  static func make(
    for address: SocketAddress, from origin: ConnectionOrigin?, nonblocking: Bool
  ) throws(SystemFailure) -> Int32 {
    let descriptor = try make(for: address, nonblocking: nonblocking)
    guard let origin, !address.isUnix else { return descriptor }
    let code = bind(descriptor, to: origin)
    guard code == 0 else {
      Glibc.close(descriptor)
      throw SystemFailure(
        code: -code, operation: "bind \(origin.address.map { "\($0)" } ?? "a source")")
    }
    return descriptor
  }

  static func placeByCPU(_ listener: Int32, count: Int) -> Int32 {
    guard count > 0 else { return -EINVAL }
    return clinux_reuseport_by_cpu(listener, UInt32(count))
  }

  static func preferCPU(_ listener: Int32, cpu: Int) -> Int32 {
    var value = Int32(cpu)
    return setsockopt(
      listener, SOL_SOCKET, Int32(CLINUX_SO_INCOMING_CPU), &value,
      socklen_t(MemoryLayout<Int32>.size)) == 0 ? 0 : -errno
  }

  static func incomingCPU(_ socket: Int32) -> Int? {
    option(socket, Int32(CLINUX_SO_INCOMING_CPU)).flatMap { $0 >= 0 ? Int($0) : nil }
  }

  static func incomingQueue(_ socket: Int32) -> Int? {
    option(socket, Int32(CLINUX_SO_INCOMING_NAPI_ID)).flatMap { $0 > 0 ? Int($0) : nil }
  }

  static func option(_ socket: Int32, _ name: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(socket, SOL_SOCKET, name, &value, &length) == 0 ? value : nil
  }
}
