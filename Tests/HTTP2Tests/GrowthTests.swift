// What a session has little room for at its beginning, and more when it is needed.

import Testing

@testable import HTTP2

@Suite("Room that grows")
struct GrowthTests {
  @Test("records of streams keep their places and what they hold")
  func streams() {
    var streams = StreamTable(capacity: 100)
    var places: [UInt32: Int] = [:]
    for number in UInt32(0)..<100 {
      let id = 2 * number + 1
      places[id] = streams.open(id, sendWindow: Int(number), receiveWindow: 7)
      // Those that end leave their places to others, whatever the room is by then.
      if number % 10 == 9, let place = places[id - 10] {
        streams.close(place, .byReset)
        places[id - 10] = nil
      }
    }
    let inUse = streams.inUse
    #expect(inUse == 90)
    #expect(Set(places.values).count == 90)
    for (id, place) in places {
      let (found, window) = (streams.find(id), streams[place].pointee.sendWindow)
      #expect(found == place && window == Int(id / 2))
    }
    let (found, end) = (streams.find(9), streams.end(of: 9))
    #expect(found == nil && end == .byReset)
    for id in stride(from: UInt32(201), to: 221, by: 2) {
      let place = streams.open(id, sendWindow: 0, receiveWindow: 0)
      #expect(place != nil)
    }
    let beyond = streams.open(301, sendWindow: 0, receiveWindow: 0)
    #expect(beyond == nil)
  }

  @Test("frames leave in the order in which they came")
  func control() {
    var queue = ControlQueue(streams: 100)
    var next: UInt64 = 0
    // The first one is not at the beginning when the room grows.
    for value in UInt64(0)..<5 { queue.push(.ping(value)) }
    for _ in 0..<3 {
      let frame = queue.pop()
      #expect(frame?.value == next)
      next += 1
    }
    for value in UInt64(5)..<60 { queue.push(.ping(value)) }
    let isFullEarly = queue.isFull
    #expect(!isFullEarly)
    for value in UInt64(60)..<164 { queue.push(.ping(value)) }
    let (isFull, count) = (queue.isFull, queue.count)
    #expect(isFull && count == 161)
    while let frame = queue.pop() {
      #expect(frame.value == next)
      next += 1
    }
    let isEmpty = queue.isEmpty
    #expect(next == 164 && isEmpty)
  }
}
