// A plot as the page shows it: a figure with its title, its two drawings (wide and narrow), a legend
// and the table of the same figures. Each kind of plot is in a file of its own and gives a `Plot`.

/// What a plot is made of.
struct Plot {
  /// Letters, digits and hyphens.
  let id: String
  let title: String
  /// What it shows, in a sentence, for those who do not see it.
  let description: String
  /// Drawn for a width in pixels.
  let draw: (Double) -> SVG
  let table: HTMLTable
  /// What one should know to read it.
  var note = ""
  /// Subjects in the legend, by their place in the comparison; empty: no legend.
  var legend: [(series: Int, name: String)] = []
  /// What bars mean that are no subject's: a class and a word.
  var key: [(style: String, name: String)] = []

  /// The wide drawing fits a page of 70 rem less margins; the narrow one a telephone of 360 pixels.
  static let wide = 760.0
  static let narrow = 326.0

  var html: String {
    var out =
      "<figure id=\"plot-\(id)\"><figcaption><h3>\(HTML.escape(title))</h3>"
      + (note.isEmpty ? "" : "<p>\(HTML.escape(note))</p>") + "</figcaption>\n"
    if !legend.isEmpty { out += legendHTML }
    if !key.isEmpty { out += keyHTML }
    out += draw(Self.wide).html(
      title: title, description: description, id: "\(id)-w", style: "wide")
    out += draw(Self.narrow).html(
      title: title, description: description, id: "\(id)-n", style: "narrow")
    out += "<details class=\"table\"><summary>Show as a table</summary>\(table.html)</details>"
    return out + "</figure>\n"
  }

  /// Buttons, because with a script they show and hide a series; without one they are a legend.
  private var legendHTML: String {
    var out = "<ul class=\"legend\">"
    for (series, name) in legend {
      var sample = SVG(width: 30, height: 14)
      sample.path([(1, 7), (29, 7)], Series.line(series))
      sample.mark(15, 7, series: series, tip: "")
      out +=
        "<li><button type=\"button\" aria-pressed=\"true\" data-series=\"\(series)\">"
        + "<svg class=\"key\" viewBox=\"0 0 30 14\" aria-hidden=\"true\">\(sample.content)</svg>"
        + "\(HTML.escape(name))</button></li>"
    }
    return out + "</ul>\n"
  }

  private var keyHTML: String {
    let items = key.map { style, name in
      "<li><svg class=\"key\" viewBox=\"0 0 30 14\" aria-hidden=\"true\"><rect x=\"1\" y=\"1\""
        + " width=\"28\" height=\"12\" class=\"\(style)\"/></svg> \(HTML.escape(name))</li>"
    }
    return "<ul class=\"legend\">\(items.joined())</ul>\n"
  }
}

extension SVG {
  /// Gridlines and labels of a vertical axis, labels to the left of the plot.
  mutating func vertical(_ axis: Axis, left: Double, right: Double, label: (Double) -> String) {
    let room = abs(axis.to - axis.from)
    for tick in axis.ticks(atMost: max(2, Int(room / 34))) {
      let y = axis.position(tick)
      line(left, y, right, y, "grid")
      text(left - 6, y + 4, label(tick), .end, "tick")
    }
  }

  /// Those of a horizontal axis: as many ticks as have room for their labels.
  mutating func horizontal(
    _ axis: Axis, top: Double, bottom: Double, grid: Bool = true, label: (Double) -> String
  ) {
    let room = abs(axis.to - axis.from)
    var most = max(2, Int(room / 30))
    var ticks = axis.ticks(atMost: most)
    func collides(_ ticks: [Double]) -> Bool {
      zip(ticks, ticks.dropFirst()).contains { a, b in
        let half =
          (TextMetrics.width(label(a), size: SVG.textSize)
            + TextMetrics.width(label(b), size: SVG.textSize)) / 2
        return abs(axis.position(b) - axis.position(a)) < half + 8
      }
    }
    while most > 1, collides(ticks) {
      most -= 1
      ticks = axis.ticks(atMost: most)
    }
    if collides(ticks) { ticks = [ticks[0], ticks[ticks.count - 1]] }
    for tick in ticks {
      let x = axis.position(tick)
      if grid { line(x, top, x, bottom, "grid") }
      // A label at the drawing's edge must not be cut by it.
      let half = TextMetrics.width(label(tick), size: SVG.textSize) / 2
      text(min(max(x, half), width - half), bottom + 16, label(tick), .middle, "tick")
    }
  }
}
