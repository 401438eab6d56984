// libyaml's event parser behind a `~Copyable` value: it owns the parser, the current event and the
// duty to delete both. It turns C structures into plain values and refuses nothing on its own; what
// a configuration may not contain is the composer's business.

internal import CYAML
import Glibc

/// One event of the parser, as a plain value.
struct YAMLEvent {
  enum Kind {
    case streamStart
    case streamEnd
    case documentStart
    case documentEnd
    case alias(name: String)
    case scalar(text: String, style: ScalarStyle)
    case sequenceStart
    case sequenceEnd
    case mappingStart
    case mappingEnd
  }

  enum ScalarStyle {
    case plain
    case quoted
    case block
  }

  var kind: Kind
  var start: Mark
  var end: Mark
  /// The anchor or tag that was written in front of a value; nil for none.
  var anchor: String?
  var tag: String?
}

/// What libyaml could not read.
struct YAMLSyntaxError: Error {
  var message: String
  /// nil when the bytes are not even text; then `byteOffset` tells where.
  var mark: Mark?
  var byteOffset: Int
}

/// The events of a stream, one after the other.
///
/// The bytes must stay valid and unchanged while the source exists.
struct YAMLEventSource: ~Copyable {
  private let parser: UnsafeMutablePointer<yaml_parser_t>

  /// nil if there is no memory for a parser.
  init?(bytes: UnsafeBufferPointer<UInt8>) {
    parser = .allocate(capacity: 1)
    parser.initialize(to: yaml_parser_t())
    guard yaml_parser_initialize(parser) == 1 else {
      parser.deallocate()
      return nil
    }
    // SAFETY: the caller keeps the bytes alive and in place for as long as this value lives;
    // libyaml keeps the pointer and only reads.
    yaml_parser_set_input_string(parser, bytes.baseAddress, bytes.count)
  }

  deinit {
    yaml_parser_delete(parser)
    parser.deallocate()
  }

  mutating func next() throws(YAMLSyntaxError) -> YAMLEvent {
    var event = yaml_event_t()
    guard yaml_parser_parse(parser, &event) == 1 else { throw syntaxError() }
    defer { yaml_event_delete(&event) }
    return Self.value(of: &event)
  }

  private static func value(of event: inout yaml_event_t) -> YAMLEvent {
    var anchor: UnsafeMutablePointer<yaml_char_t>?
    var tag: UnsafeMutablePointer<yaml_char_t>?
    let kind: YAMLEvent.Kind
    switch event.type {
    case YAML_STREAM_START_EVENT: kind = .streamStart
    case YAML_DOCUMENT_START_EVENT: kind = .documentStart
    case YAML_DOCUMENT_END_EVENT: kind = .documentEnd
    case YAML_ALIAS_EVENT: kind = .alias(name: text(event.data.alias.anchor) ?? "")
    case YAML_SCALAR_EVENT:
      anchor = event.data.scalar.anchor
      tag = event.data.scalar.tag
      kind = scalar(event.data.scalar.value, event.data.scalar.length, event.data.scalar.style)
    case YAML_SEQUENCE_START_EVENT:
      anchor = event.data.sequence_start.anchor
      tag = event.data.sequence_start.tag
      kind = .sequenceStart
    case YAML_SEQUENCE_END_EVENT: kind = .sequenceEnd
    case YAML_MAPPING_START_EVENT:
      anchor = event.data.mapping_start.anchor
      tag = event.data.mapping_start.tag
      kind = .mappingStart
    case YAML_MAPPING_END_EVENT: kind = .mappingEnd
    // YAML_STREAM_END_EVENT, and YAML_NO_EVENT, which libyaml gives after the end.
    default: kind = .streamEnd
    }
    return YAMLEvent(
      kind: kind, start: mark(event.start_mark), end: mark(event.end_mark),
      anchor: text(anchor), tag: text(tag))
  }

  private static func scalar(
    _ value: UnsafeMutablePointer<yaml_char_t>?, _ length: Int, _ style: yaml_scalar_style_t
  ) -> YAMLEvent.Kind {
    // SAFETY: libyaml gives `length` bytes of UTF-8 at `value`, which may hold zero bytes, and they
    // live until the event is deleted; the text is a copy.
    let bytes = UnsafeBufferPointer(start: value, count: value == nil ? 0 : length)
    let text = String(decoding: bytes, as: UTF8.self)
    switch style {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE, YAML_DOUBLE_QUOTED_SCALAR_STYLE:
      return .scalar(text: text, style: .quoted)
    case YAML_LITERAL_SCALAR_STYLE, YAML_FOLDED_SCALAR_STYLE:
      return .scalar(text: text, style: .block)
    default:
      return .scalar(text: text, style: .plain)
    }
  }

  private func syntaxError() -> YAMLSyntaxError {
    let state = parser.pointee
    if state.error == YAML_MEMORY_ERROR {
      return YAMLSyntaxError(message: "out of memory", mark: nil, byteOffset: 0)
    }
    let problem = state.problem.map { String(cString: $0) } ?? "it cannot be read"
    if state.error == YAML_READER_ERROR {
      return YAMLSyntaxError(message: problem, mark: nil, byteOffset: state.problem_offset)
    }
    // The context says what was being read, and its mark where that began: the opening bracket or
    // quote, which may stand far above the place where the parser gave up.
    let context =
      state.context.map {
        "\(String(cString: $0)) (line \(state.context_mark.line + 1)): "
      } ?? ""
    return YAMLSyntaxError(
      message: context + problem, mark: Self.mark(state.problem_mark), byteOffset: 0)
  }

  private static func mark(_ mark: yaml_mark_t) -> Mark {
    Mark(line: Int(mark.line) + 1, column: Int(mark.column) + 1)
  }

  private static func text(_ characters: UnsafeMutablePointer<yaml_char_t>?) -> String? {
    // SAFETY: anchors and tags are zero-terminated and live until the event is deleted.
    characters.map { String(cString: $0) }
  }
}
