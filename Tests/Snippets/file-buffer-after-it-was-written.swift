// error: 'buffer' used after consume
// A buffer in flight comes back with its completion, through `takeFileBuffer`.
import MillraceEngine

func write(_ engine: inout Uring, _ file: Descriptor, _ token: Token) {
  let buffer = FileBuffer(capacity: 4096)
  #if TWIN
    buffer.base.storeBytes(of: 1, as: UInt8.self)
  #endif
  engine.write(file, from: buffer, count: 4096, offset: 0, durable: true, token)
  #if !TWIN
    buffer.base.storeBytes(of: 1, as: UInt8.self)
  #endif
}
