// error: 'BufferSlice' initializer is inaccessible due to 'internal' protection level
// Slices come from an engine only.
import MillraceEngine

func invent(_ engine: inout Uring) {
  #if TWIN
    let slice = engine.coldMemory(16)
  #else
    let slice = BufferSlice()
  #endif
  print(slice.count)
}
