// error: 'frame' used after consume
// The kernel reads the frame from here on.
import MillraceEngine

func send(_ engine: inout Uring, _ socket: Descriptor, _ token: Token) {
  guard var frame = engine.frame() else { return }
  frame.append("HTTP/1.1 200 OK\r\n\r\n")
  #if TWIN
    frame.append("more")
  #endif
  engine.send(socket, frame, .quiet, token)
  #if !TWIN
    frame.append("more")
  #endif
}
