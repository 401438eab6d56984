// Counting the end of an exchange by upstream, by route and by reason, at a few loads and stores.

import Exchange
import Metrics
import TLS

extension WorkerCounters {
  /// How an exchange ended.
  @inline(__always)
  func countEnding(_ kind: Failure.Kind) { block[endings + EndingMetric.ending(kind)] += 1 }

  /// - Parameters:
  ///   - row: of the route.
  ///   - status: of the response, 200 or above; what is above 599 is taken for the fifth class.
  @inline(__always)
  func countRoute(_ row: Int32, status: UInt16) {
    block[Int(row) + min(Int(status) / 100, 5) - 2] += 1
  }

  /// The times of an exchange that an upstream was asked for, in nanoseconds.
  /// - Parameters:
  ///   - row: of the upstream.
  ///   - total: below 0: it was a tunnel.
  ///   - firstByte: below 0: no response has come.
  ///   - connectMicroseconds: below 0: the connection was there.
  @inline(__always)
  func countTimes(
    upstream row: Int32, total: Int64, firstByte: Int64, connectMicroseconds: Int64
  ) {
    let cell = Int(row)
    if total >= 0 {
      LatencyHistogram.count(total, in: block, at: cell + UpstreamMetric.duration.cell)
    }
    if firstByte >= 0 {
      LatencyHistogram.count(firstByte, in: block, at: cell + UpstreamMetric.firstByte.cell)
    }
    if connectMicroseconds >= 0 { countConnect(connectMicroseconds, cell) }
  }

  @inline(never)
  private func countConnect(_ microseconds: Int64, _ cell: Int) {
    LatencyHistogram.count(
      microseconds &* 1000, in: block, at: cell + UpstreamMetric.connect.cell)
  }

  /// A handshake with a client that failed. - Parameter kind: nil: the client closed.
  func countHandshakeFailure(_ kind: TLSFailure.Kind?) {
    block[endings + EndingMetric.handshakes + HandshakeCause(kind).rawValue] += 1
  }

  /// A batch of records is durable. - Parameter time: in nanoseconds.
  func countCommit(_ time: Int64) {
    LatencyHistogram.count(time, in: block, at: endings + EndingMetric.commits)
  }
}
