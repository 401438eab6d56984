// error: 'slice' consumed more than once
// A slice goes into one frame. For two frames it is split, or a further slice is made.
import MillraceEngine

func fanOut(_ engine: inout Uring, _ completion: Completion) {
  let slice = engine.takeSlice(completion)
  guard var first = engine.frame(), var second = engine.frame() else { return }
  #if TWIN
    first.append(slice.subslice(start: 0, count: slice.count))
  #else
    first.append(slice)
  #endif
  second.append(slice)
}
