// How wide a text will be, without a browser to ask. The page uses whatever sans-serif font the system
// has; the widths here are those of DejaVu Sans, the widest of the usual ones, so that what
// does not overlap here overlaps nowhere.

enum TextMetrics {
  /// The width of a text in pixels at a font size in pixels.
  static func width(_ text: String, size: Double) -> Double {
    var sum = 0.0
    for character in text.unicodeScalars { sum += advance(character) }
    return sum * size
  }

  /// How much wider bold text is at most, by DejaVu Sans Bold's advances.
  static let boldFactor = 1.13

  /// Cut so that it fits, with an ellipsis.
  static func fit(_ text: String, into width: Double, size: Double) -> String {
    guard self.width(text, size: size) > width else { return text }
    var cut = text
    while !cut.isEmpty, self.width(cut + "…", size: size) > width { cut.removeLast() }
    return cut + "…"
  }

  /// Advance widths in em: DejaVu Sans 2.37, rounded up by class.
  private static func advance(_ character: Unicode.Scalar) -> Double {
    switch character {
    case "i", "l", "j", "I", "'", "|": 0.34
    case ".", ",", " ", ":", ";": 0.34
    case "f", "t", "r", "(", ")", "[", "]", "/", "-": 0.43
    case "m", "M", "W", "%", "@", "…": 1.02
    case "w", "+", "−", "=", "<", ">", "±", "~": 0.85
    case "A"..."Z": 0.79
    case "a"..."z", "0"..."9": 0.64
    case "_", "–", "·": 0.52
    case "\u{2e80}"...: 1.05
    default: 0.85
    }
  }
}
