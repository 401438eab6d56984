// error: 'frame' consumed more than once
// One frame, one send, one terminal completion.
import MillraceEngine

func send(_ engine: inout Epoll, _ first: Descriptor, _ second: Descriptor, _ token: Token) {
  guard let frame = engine.frame() else { return }
  engine.send(first, frame, .quiet, token)
  #if !TWIN
    engine.send(second, frame, .quiet, token)
  #endif
}
