// How a way through the document is written: `listeners[0].tls`, and quotes around a key that would
// make the path ambiguous. The same text appears in messages, logs and the documentation.

/// The document itself, where no key leads to.
let rootPath = "document"

func path(_ parent: String, key: String) -> String {
  let isPlain =
    !key.isEmpty && key.count <= excerptCharactersMaximum
    && key.utf8.allSatisfy {
      isDigit($0) || isLetter($0) || $0 == UInt8(ascii: "_") || $0 == UInt8(ascii: "-")
    }
  let step = isPlain ? key : quoted(key)
  return parent == rootPath ? step : "\(parent).\(step)"
}

func path(_ parent: String, index: Int) -> String { "\(parent)[\(index)]" }
