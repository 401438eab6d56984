// Which certificates are served together. A server name is served by all certificates that carry
// it, one of each key algorithm, and every distinct set of certificates becomes one group. It only
// reckons; the groups are made by TLSContext.

/// The division of a listener's certificates into groups.
struct CertificateGroups {
  /// Each group's certificates, as indexes into the list that it was made from. The first is the
  /// default.
  private(set) var groups: [[Int]]
  /// Every name, each once, and the group that serves it.
  private(set) var groupsByName: [(name: [UInt8], group: Int)] = []

  /// Divides `pairs`, which holds at least one.
  init(_ pairs: [CertificatePair]) {
    self.init(names: pairs.map(\.names), keyTypes: pairs.map(\.keyType))
  }

  /// Divides certificates that have these names and key algorithms, index by index.
  init(names: [[[UInt8]]], keyTypes: [Int32]) {
    var holders: [(name: [UInt8], members: [Int])] = []
    var places: [[UInt8]: Int] = [:]
    for index in names.indices {
      for name in names[index] {
        guard let place = places[name] else {
          places[name] = holders.count
          holders.append((name, [index]))
          continue
        }
        // An SSL_CTX has one slot per algorithm; the first listed certificate keeps it.
        if !holders[place].members.contains(where: { keyTypes[$0] == keyTypes[index] }) {
          holders[place].members.append(index)
        }
      }
    }
    // The default is what serves the first certificate's first name; it holds that certificate,
    // which came first for each of its names.
    let defaultMembers = holders.first { $0.members.first == 0 }?.members ?? [0]
    groups = [defaultMembers]
    var numbers: [[Int]: Int] = [defaultMembers: 0]
    for holder in holders {
      if let number = numbers[holder.members] {
        groupsByName.append((holder.name, number))
      } else {
        numbers[holder.members] = groups.count
        groupsByName.append((holder.name, groups.count))
        groups.append(holder.members)
      }
    }
  }
}
