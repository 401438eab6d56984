// error: noncopyable 'slice' cannot be consumed when captured by an escaping closure
// A closure that is called twice would give the buffer back twice.
import MillraceEngine

func later(_ engine: inout Uring, _ completion: Completion) -> () -> Void {
  let slice = engine.takeSlice(completion)
  #if TWIN
    let count = slice.count
    return { print(count) }
  #else
    return { drop(slice) }
  #endif
}

func drop(_ slice: consuming BufferSlice) {}
