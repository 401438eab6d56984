// error: 'datagram' used after consume
// The content leaves with whoever sends it on.
import MillraceEngine

func echo(_ engine: inout Uring, _ completion: Completion) {
  let datagram = engine.takeDatagram(completion)
  guard var frame = engine.frame() else { return }
  frame.append(datagram.content)
  #if !TWIN
    print(datagram.content.count)
  #endif
}
