// Connections that come from elsewhere, and that go elsewhere. In between the world keeps them.

import Glibc

extension Simulated {
  public mutating func surrender(_ socket: Descriptor) -> Int32 {
    precondition(!socket.isDirect, "a direct descriptor has no file descriptor number")
    world.note(.move, 0, Int64(socket.rawValue))
    let handle = known(socket)
    precondition(!handle.isBusy, "surrender with an operation in flight")
    guard case .stream(let end) = handle.thing else {
      preconditionFailure("surrender of something other than a connected stream socket")
    }
    end.owner = nil
    handles[Int(socket.rawValue)] = nil
    world.network.ownerless[socket.rawValue] = handle
    return socket.rawValue
  }

  public mutating func adopt(_ number: Int32) throws(SystemFailure) -> Descriptor {
    guard number < 0 || Int(number) < options.descriptorLimit else {
      throw SystemFailure(code: EMFILE, operation: "descriptor limit of the engine")
    }
    if let own = handle(number) {
      // As the other engines: of a file they know no more than that it is no socket.
      if case .file = own.thing { throw SystemFailure(code: ENOTSOCK, operation: "adopt") }
      preconditionFailure("adopt of a descriptor that is open in this engine")
    }
    guard let handle = world.network.ownerless.removeValue(forKey: number) else {
      throw SystemFailure(code: EBADF, operation: "adopt")
    }
    world.note(.move, 1, Int64(number))
    while handles.count <= Int(number) { handles.append(nil) }
    handles[Int(number)] = handle
    adopt(handle, number)
    return Descriptor(rawValue: number)
  }

  public mutating func adoptListener(_ number: Int32) throws(SystemFailure) -> Descriptor {
    throw SystemFailure(code: EOPNOTSUPP, operation: "adopt of a listener")
  }
}
