// The mailboxes that a ring sends to. Each is retained when it is first met and not per message, so
// that a message touches no count. Bounded: a new one takes the place of one that nothing is under
// way to. Those whose engines have ended are let go of as soon as that is seen: when a message to
// them is refused, or has been carried too late, or when room is needed and it is their turn to be
// looked at.

import Glibc

struct Correspondents: ~Copyable {
  /// Looked through per message, so few; a worker per CPU of a large machine, and each sends to all.
  static let limit = 64

  private struct Place {
    var mailbox: Unmanaged<Mailbox>?
    /// Entries in flight that wake it: they name the place, so it does not move.
    var underWay: Int
  }

  private let places: UnsafeMutablePointer<Place>
  /// Places that were ever used.
  private var used = 0
  /// The next place to be looked at when there is no room.
  private var hand = 0
  /// Mailboxes that are kept, now.
  private(set) var count = 0
  /// How often one had to make room for another.
  private(set) var replacements = 0

  init() { places = .allocate(capacity: Self.limit) }

  deinit {
    for i in 0..<used { places[i].mailbox?.release() }
    places.deallocate()
  }

  /// The place of a mailbox, which is kept from now on.
  /// - Returns: -1 if messages are under way to as many as can be kept: the caller wakes it itself.
  mutating func keep(_ mailbox: Mailbox) -> Int {
    let wanted = Unmanaged.passUnretained(mailbox).toOpaque()
    for i in 0..<used where places[i].mailbox?.toOpaque() == wanted { return i }
    return add(mailbox)
  }

  @inline(never)
  private mutating func add(_ mailbox: Mailbox) -> Int {
    guard let place = vacate() else { return -1 }
    places[place].mailbox = .passRetained(mailbox)
    count += 1
    return place
  }

  private mutating func vacate() -> Int? {
    for i in 0..<used where places[i].mailbox == nil { return i }
    if used < Self.limit {
      (places + used).initialize(to: Place(mailbox: nil, underWay: 0))
      used += 1
      return used - 1
    }
    // One per message: to ask a mailbox takes its lock.
    let place = hand
    hand = (hand + 1) % Self.limit
    forgetIfOver(place)
    if places[place].mailbox == nil { return place }
    for i in 0..<used where places[i].underWay == 0 {
      replacements += 1
      forget(i)
      return i
    }
    return nil
  }

  /// An entry that wakes it is on its way.
  mutating func begin(_ place: Int) { places[place].underWay += 1 }

  /// The entry has completed.
  mutating func end(_ place: Int, succeeded: Bool) {
    places[place].underWay -= 1
    guard let mailbox = places[place].mailbox else {
      return engineBug("a message was carried to a mailbox that nobody keeps")
    }
    let isOver = mailbox._withUnsafeGuaranteedRef { $0.carried(succeeded: succeeded) }
    if isOver && places[place].underWay == 0 { forget(place) }
  }

  /// Lets go of a mailbox whose engine has ended.
  mutating func forgetIfOver(_ place: Int) {
    guard places[place].underWay == 0, let mailbox = places[place].mailbox,
      mailbox._withUnsafeGuaranteedRef({ $0.isClosed })
    else { return }
    forget(place)
  }

  private mutating func forget(_ place: Int) {
    places[place].mailbox?.release()
    places[place].mailbox = nil
    count -= 1
  }
}
