// The report as one HTML file that asks nobody for anything: style, script, drawings and data are in
// it, and its own policy forbids every request. It shows all without a script.

import FoundationEssentials

/// The report of a comparison.
public enum ReportHTML {
  /// The whole page.
  public static func render(_ comparison: Comparison) -> String {
    let data = ReportData(comparison)
    let sections = ReportSections(data)
    let title = "Millrace: \(comparison.subjects.map(\.name).joined(separator: ", "))"
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
      style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
      <link rel="icon" href="data:,">
      <title>\(HTML.escape(title))</title>
      <style>
      \(ReportStyle.css)
      </style>
      </head>
      <body>
      \(hatch)
      <header><h1>\(HTML.escape(sections.title))</h1>
      <button id="theme" class="tool" type="button" hidden>Light or dark</button></header>
      <main>
      \(sections.all)
      </main>
      <div id="tip" role="status" hidden></div>
      <script type="application/json" id="data">\(HTML.escapeJSON(json(comparison)))</script>
      <script>
      \(ReportScript.text)
      </script>
      </body>
      </html>

      """
  }

  /// The pattern of the bars that are neither of the others.
  private static let hatch = """
    <svg width="0" height="0" aria-hidden="true" style="position:absolute"><defs>\
    <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">\
    <rect width="6" height="6" fill="var(--ground)"/><rect width="2.5" height="6" fill="var(--machine)"/>\
    </pattern></defs></svg>
    """

  private static func json(_ comparison: Comparison) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    // A comparison holds no value that JSON lacks, unless a measurement divided by zero.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "Infinity", negativeInfinity: "-Infinity", nan: "NaN")
    guard let data = try? encoder.encode(comparison) else { return "null" }
    return String(decoding: data, as: UTF8.self)
  }
}
