// Bytes that are not what they should be: responses for the proxy to refuse, requests for it to
// refuse, and requests hidden inside others, which no server may ever see as requests.

enum Garbage {
  static let responses = 14

  /// Bytes in place of a response. None of them is one.
  static func response(_ kind: Int, _ id: Int) -> [UInt8] {
    let good = "HTTP/1.1 200 OK\r\nX-Sim: \(id)\r\n"
    let text: String
    switch kind % responses {
    case 0: text = "nonsense\r\n\r\n"
    case 1: text = "HTTP/1.1 2000 OK\r\n\r\n"
    case 2: text = good + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"
    case 3:
      text = good + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    case 4: text = good + "Content-Length: -1\r\n\r\n"
    case 5: text = good + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
    case 6: text = good + "Bad Name: 1\r\nContent-Length: 0\r\n\r\n"
    case 7: text = good + "Content-Length: 0\r\n folded\r\n\r\n"
    case 8: text = "HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"
    case 9: text = "\u{0}\u{1}\u{2}\u{3}\r\n\r\n"
    case 10: text = good + "X: a\u{0}b\r\nContent-Length: 0\r\n\r\n"
    case 11: text = good + "Content-Length: 99999999999999999999999\r\n\r\n"
    case 12: text = "HTTP/1.1\r\n\r\n"
    default: text = good + "Content-Length : 0\r\n\r\n"
    }
    return Array(text.utf8)
  }

  static let requests = 32

  /// A request that must be refused, or answered without any server.
  static func request(_ kind: Int, hidden: Int) -> [UInt8] {
    let inner = "GET /hidden HTTP/1.1\r\nHost: sim.example\r\nX-Sim: \(hidden)\r\n\r\n"
    let fields = "Host: sim.example\r\nX-Sim: \(ProxyRun.hostileID)\r\n"
    let start = "POST /u0/hostile HTTP/1.1\r\n" + fields
    let get = "GET /u0/hostile HTTP/1.1\r\n" + fields
    let text: String
    switch kind % requests {
    case 0:
      text = start + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    case 1:
      text = start + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + inner
    case 2: text = start + "Content-Length: 4\r\nContent-Length: 0\r\n\r\n" + inner
    case 3: text = start + "Content-Length: +0\r\n\r\n" + inner
    case 4: text = start + "Content-Length: 0, 5\r\n\r\n" + inner
    case 5: text = start + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner
    case 6: text = start + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner
    case 7: text = start + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + inner
    case 8: text = start + " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    case 9: text = start + "Transfer-Encoding:\u{b}chunked\r\n\r\n0\r\n\r\n" + inner
    case 10: text = start + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    case 11: text = start + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    case 12: text = "GET /u0/hostile HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + inner
    case 13: text = "GET /u0/hostile HTTP/1.1\r\n\r\n" + inner
    case 14: text = "G E T /u0/hostile HTTP/1.1\r\nHost: a\r\n\r\n" + inner
    case 15: text = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + inner
    case 16: text = "GET /u0/\u{1}hostile HTTP/1.1\r\nHost: a\r\n\r\n" + inner
    case 17: text = get + "X\u{0}: y\r\n\r\n" + inner
    case 18: text = get + ": y\r\n\r\n" + inner
    case 19: text = get + "A: b\r\n folded: c\r\n\r\n" + inner
    case 20: text = get + String(repeating: "F: 1\r\n", count: 2_000) + "\r\n" + inner
    case 21: text = get + "F: " + String(repeating: "a", count: 150_000) + "\r\n\r\n" + inner
    case 22: text = "GET /" + String(repeating: "a", count: 60_000) + " HTTP/1.1\r\nHost: a\r\n\r\n"
    case 23: text = "CONNECT sim.example:443 HTTP/1.1\r\nHost: sim.example\r\n\r\n" + inner
    case 24: text = start + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + inner
    case 25: text = start + "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + inner
    case 26: text = start + "Transfer-Encoding: chunked\r\n\r\n1\r\naXX0\r\n\r\n" + inner
    case 27: text = start + "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n" + inner
    case 28: text = start + "Transfer-Encoding: chunked\r\n\r\n1;\na\r\n0\r\n\r\n" + inner
    case 29: text = "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}" + inner
    case 30:
      text =
        get + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner
    default: text = "GET http:///x HTTP/1.1\r\nHost: \u{7f}\r\n\r\n" + inner
    }
    return Array(text.utf8)
  }
}
