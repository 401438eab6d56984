// error: 'slice' used after consume
// Bytes that are about to be in flight are nobody's to look at.
import MillraceEngine

func answer(_ engine: inout Uring, _ completion: Completion) {
  let slice = engine.takeSlice(completion)
  guard var frame = engine.frame() else { return }
  #if TWIN
    print(slice.count)
  #endif
  frame.append(slice)
  #if !TWIN
    print(slice.count)
  #endif
}
