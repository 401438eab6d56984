// error: 'buffer' consumed more than once
// Two reads into one buffer would each believe that it is theirs.
import MillraceEngine

func read(_ engine: inout Epoll, _ file: Descriptor, _ token: Token) {
  let buffer = FileBuffer(capacity: 4096)
  engine.read(file, into: buffer, count: 4096, offset: 0, token)
  #if !TWIN
    engine.read(file, into: buffer, count: 4096, offset: 4096, token)
  #endif
}
