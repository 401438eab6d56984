// error: 'list' used after consume
// The same for several at once.
import MillraceEngine

func write(_ engine: inout Uring, _ file: Descriptor, _ token: Token) {
  var list = FileBufferList()
  list.append(FileBuffer(capacity: 64), bytes: 64)
  #if TWIN
    print(list.byteCount)
  #endif
  engine.write(file, from: list, offset: 0, durable: false, token)
  #if !TWIN
    print(list.byteCount)
  #endif
}
