// error: type 'BufferSlice' does not conform to protocol 'Copyable'
// An array could be copied, and with it the right to the bytes.
import MillraceEngine

func collect(_ slice: consuming BufferSlice) {
  #if TWIN
    let bytes = Array(slice.bytes)
    print(bytes)
  #else
    let slices: [BufferSlice] = []
    print(slices.count)
  #endif
}
