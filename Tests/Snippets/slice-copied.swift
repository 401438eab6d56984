// error: 'slice' consumed more than once
// There is no second owner by assignment.
import MillraceEngine

func keep(_ engine: inout Epoll, _ completion: Completion) {
  let slice = engine.takeSlice(completion)
  let mine = slice
  #if !TWIN
    let yours = slice
    print(yours.count)
  #endif
  print(mine.count)
}
