// error: 'buffer' is inaccessible due to 'internal' protection level
// What a completion names cannot be changed, nor a completion be made up.
import MillraceEngine

func forge(_ completion: Completion) {
  #if TWIN
    print(completion.result)
  #else
    var forged = completion
    forged.buffer = 0
  #endif
}
