// Text for a page: escaping, and tables. Everything that comes from a measurement or a file goes
// through `escape`; there is no other way into the page.

enum HTML {
  /// Text and attribute values alike.
  static func escape(_ text: String) -> String {
    var out = ""
    out.reserveCapacity(text.utf8.count)
    for character in text.unicodeScalars {
      switch character {
      case "&": out += "&amp;"
      case "<": out += "&lt;"
      case ">": out += "&gt;"
      case "\"": out += "&quot;"
      case "'": out += "&#39;"
      case "\t", "\n", "\r": out.unicodeScalars.append(character)
      // Control characters are not allowed in HTML, escaped or not.
      case "\u{0}"..<" ", "\u{7f}"..<"\u{a0}": out += "\u{fffd}"
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }

  /// JSON that may stand in a script element: there only `<` is dangerous (`</script`, `<!--`), and
  /// the two line separators in what reads it as a program.
  static func escapeJSON(_ json: String) -> String {
    var out = ""
    out.reserveCapacity(json.utf8.count)
    for character in json.unicodeScalars {
      switch character {
      case "<": out += "\\u003c"
      case ">": out += "\\u003e"
      case "&": out += "\\u0026"
      case "\u{2028}": out += "\\u2028"
      case "\u{2029}": out += "\\u2029"
      default: out.unicodeScalars.append(character)
      }
    }
    return out
  }
}

/// A table whose first column names the row.
struct HTMLTable {
  var caption: String
  var columns: [String]
  var rows: [[Cell]] = []

  struct Cell {
    var text: String
    /// A class of the style sheet, as for a load-bound figure.
    var style = ""
    /// What sorts it, where the text does not.
    var key: Double?

    init(_ text: String, style: String = "", key: Double? = nil) {
      self.text = text
      self.style = style
      self.key = key
    }
  }

  /// Wide tables scroll within themselves, and by the keyboard too (hence the tabindex).
  var html: String {
    var out =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"\(HTML.escape(caption))\">"
      + "<table class=\"sortable\"><caption>\(HTML.escape(caption))</caption><thead><tr>"
    for (i, column) in columns.enumerated() {
      let isWords = rows.contains { i < $0.count && $0[i].style.hasPrefix("words") }
      out += "<th scope=\"col\"\(isWords ? " class=\"words\"" : "")>\(HTML.escape(column))</th>"
    }
    out += "</tr></thead><tbody>\n"
    for row in rows {
      out += "<tr>"
      for (i, cell) in row.enumerated() {
        let tag = i == 0 ? "th scope=\"row\"" : "td"
        let key = cell.key.map { " data-key=\"\($0)\"" } ?? ""
        let style = cell.style.isEmpty ? "" : " class=\"\(cell.style)\""
        out += "<\(tag)\(style)\(key)>\(HTML.escape(cell.text))</\(i == 0 ? "th" : "td")>"
      }
      out += "</tr>\n"
    }
    return out + "</tbody></table></div>\n"
  }
}
