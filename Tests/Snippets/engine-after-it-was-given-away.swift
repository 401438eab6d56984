// error: 'engine' used after consume
// A ring has one owner: its memory ends with that owner.
import MillraceEngine

func give(_ engine: consuming Uring) {
  run(engine)
  #if !TWIN
    engine.wait(until: nil)
  #endif
}

func run(_ engine: consuming Uring) { engine.wait(until: 0) }
