// A drawing as text: shapes with classes of the style sheet, so that one drawing serves the light and
// the dark scheme and paper. Coordinates are pixels of the drawing's own width; each plot is drawn
// twice, wide and narrow, so that its text keeps its size on a telephone.

/// One drawing.
struct SVG {
  /// The size of text, in pixels.
  static let textSize = 12.0

  enum Anchor: String { case start, middle, end }

  let width: Double
  let height: Double
  private(set) var content = ""

  init(width: Double, height: Double) {
    self.width = width
    self.height = height
  }

  /// A coordinate with one decimal: finer than a pixel on every screen.
  static func number(_ value: Double) -> String {
    // What is further away than any screen reaches is no place.
    guard abs(value) < 1e9 else { return "0" }
    let tenths = Int((value * 10).rounded())
    let sign = tenths < 0 ? "-" : ""
    let whole = abs(tenths) / 10
    return abs(tenths) % 10 == 0 ? "\(sign)\(whole)" : "\(sign)\(whole).\(abs(tenths) % 10)"
  }

  mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) {
    content +=
      "<line x1=\"\(Self.number(x1))\" y1=\"\(Self.number(y1))\" x2=\"\(Self.number(x2))\""
      + " y2=\"\(Self.number(y2))\" class=\"\(style)\"/>"
  }

  mutating func rectangle(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String, tip: String = ""
  ) {
    content +=
      "<rect x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(max(0, width)))\""
      + " height=\"\(Self.number(max(0, height)))\" class=\"\(style)\"\(close(tip, "rect"))"
  }

  mutating func path(_ points: [(x: Double, y: Double)], _ style: String, tip: String = "") {
    guard points.count > 1 else { return }
    var d = ""
    for (i, point) in points.enumerated() {
      d += "\(i == 0 ? "M" : "L")\(Self.number(point.x)) \(Self.number(point.y))"
    }
    content += "<path d=\"\(d)\" class=\"\(style)\"\(close(tip, "path"))"
  }

  /// A text whose baseline is at y.
  mutating func text(
    _ x: Double, _ y: Double, _ text: String, _ anchor: Anchor = .start, _ style: String = "",
    full: String? = nil
  ) {
    let title = full.map { "<title>\(HTML.escape($0))</title>" } ?? ""
    content +=
      "<text x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" text-anchor=\"\(anchor.rawValue)\""
      + (style.isEmpty ? "" : " class=\"\(style)\"") + ">\(HTML.escape(text))\(title)</text>"
  }

  /// A mark of a series: the shape tells series apart where colours do not.
  mutating func mark(_ x: Double, _ y: Double, series: Int, tip: String, hollow: Bool = false) {
    let style = "mark s\(series % Series.count)\(hollow ? " hollow" : "")"
    let r = 4.5
    func polygon(_ points: [(Double, Double)]) -> String {
      let list = points.map { "\(Self.number(x + $0.0 * r)),\(Self.number(y + $0.1 * r))" }
      return "<polygon points=\"\(list.joined(separator: " "))\""
    }
    let shape: String
    let tag: String
    switch series % 4 {
    case 0:
      (shape, tag) = (
        "<circle cx=\"\(Self.number(x))\" cy=\"\(Self.number(y))\" r=\"\(r)\"", "circle"
      )
    case 1:
      (shape, tag) = (polygon([(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]), "polygon")
    case 2: (shape, tag) = (polygon([(0, -1.2), (1.1, 0.8), (-1.1, 0.8)]), "polygon")
    default: (shape, tag) = (polygon([(0, -1.3), (1.2, 0), (0, 1.3), (-1.2, 0)]), "polygon")
    }
    content += "\(shape) class=\"\(style)\"\(close(tip, tag))"
  }

  /// What belongs to a series is in one group, which the legend shows and hides.
  mutating func group(_ series: Int, _ draw: (inout SVG) -> Void) {
    content += "<g class=\"series\" data-series=\"\(series)\">"
    draw(&self)
    content += "</g>\n"
  }

  private func close(_ tip: String, _ tag: String) -> String {
    tip.isEmpty
      ? "/>" : " data-tip=\"\(HTML.escape(tip))\"><title>\(HTML.escape(tip))</title></\(tag)>"
  }

  func html(title: String, description: String, id: String, style: String) -> String {
    "<svg class=\"plot \(style)\" role=\"img\" viewBox=\"0 0 \(Self.number(width)) \(Self.number(height))\""
      + " aria-labelledby=\"\(id)-t \(id)-d\"><title id=\"\(id)-t\">\(HTML.escape(title))</title>"
      + "<desc id=\"\(id)-d\">\(HTML.escape(description))</desc>\n\(content)</svg>\n"
  }
}

/// How series look: colour, dash pattern and mark go by the subject's place in the comparison.
enum Series {
  /// Colours of the style sheet; a ninth subject has the first's colour, with another mark.
  static let count = 8

  static func line(_ series: Int) -> String { "line s\(series % count)" }
}
