// error: 'frame' used after consume
// Its memory is in the kernel's hands until the second completion.
import MillraceEngine

func send(_ engine: inout Uring, _ socket: Descriptor, _ token: Token) {
  guard let frame = engine.frame() else { return }
  #if TWIN
    print(frame.count)
  #endif
  engine.sendZeroCopy(socket, frame, token)
  #if !TWIN
    print(frame.count)
  #endif
}
