// Which CPU and which queue a socket belongs to. Direct slots have no number that these calls take.

extension Uring {
  public mutating func placeByCPU(_ listener: Descriptor, count: Int) -> Int32 {
    Sockets.placeByCPU(listener.rawValue, count: count)
  }
  public mutating func preferCPU(_ listener: Descriptor, cpu: Int) -> Int32 {
    Sockets.preferCPU(listener.rawValue, cpu: cpu)
  }
  public func incomingCPU(_ socket: Descriptor) -> Int? {
    systemDescriptor(socket.rawValue).flatMap(Sockets.incomingCPU)
  }
  public func incomingQueue(_ socket: Descriptor) -> Int? {
    systemDescriptor(socket.rawValue).flatMap(Sockets.incomingQueue)
  }
}
