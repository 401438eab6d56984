// Which upstream a connection goes to that is passed on as it is: by the name that its client asks for.

import Glibc

enum RelayRouter {
  /// - Parameter name: in lower case; nil: the client asks for none.
  /// - Returns: the upstream's place in its plan; nil: nowhere.
  static func route(_ listener: ListenerPlan, name: String?) -> Int32? {
    if let name {
      let bytes = Array(name.utf8)
      for known in listener.relayNames where matches(known, bytes) { return known.upstream }
    }
    return listener.relayUpstream >= 0 ? listener.relayUpstream : nil
  }

  private static func matches(_ known: RelayNamePlan, _ name: [UInt8]) -> Bool {
    let wanted = known.name.raw
    guard known.isWildcard else { return name.elementsEqual(wanted) }
    return name.count > wanted.count && name.suffix(wanted.count).elementsEqual(wanted)
  }
}
