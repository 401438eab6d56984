// Why a head was refused: one case for each rule, so that a log tells a smuggling attempt from a
// broken peer. The status is what a downstream is told; a refused response head is always a 502.

/// The rule that a head broke.
public enum HeadRejection: UInt8, Error, Sendable, CaseIterable {
  /// LF without CR before it. RFC 9112 2.2 allows a recipient to accept it; two hops that differ
  /// on it disagree on where a message ends, so it is refused.
  case bareLF
  /// CR without LF after it (RFC 9112 2.2).
  case bareCR
  /// A control byte other than HTAB in a field value or reason, or any in another place.
  case controlByte
  /// White space between a field name and its colon (RFC 9112 5.1).
  case spaceBeforeColon
  /// A line that starts with white space (RFC 9112 5.2), or white space after the start line (2.2).
  case obsFold
  case emptyFieldName
  /// A byte in a field name that is no token character, or a line without a colon.
  case invalidFieldName
  /// A value that breaks its field's own grammar where that matters to the connection.
  case invalidFieldValue
  case invalidMethod
  case invalidTarget
  /// The last part of a request line, or the first of a status line, is no HTTP version.
  case invalidVersion
  /// A well-formed version with a major number other than 1.
  case unsupportedVersion
  /// The first line of HTTP/2's connection preface (RFC 9113 3.4), which a client with prior
  /// knowledge sends: it is answered in frames, since it reads nothing else.
  case http2Preface
  /// A status line that does not start with "HTTP/", or an empty line where it should be.
  case invalidStatusLine
  /// A status code that is not three digits from 100 to 999 (RFC 9110 15).
  case invalidStatusCode
  /// HTTP/1.1 without Host (RFC 9112 3.2).
  case missingHost
  case duplicateHost
  case invalidHost
  /// A second Content-Length or a list of them, even of equal values (RFC 9112 6.3).
  case duplicateContentLength
  /// A Content-Length that is not digits, or above 2⁶³ − 1.
  case invalidContentLength
  /// Both framings at once: the mark of request smuggling (RFC 9112 6.1, 11.2).
  case contentLengthAndTransferEncoding
  /// Anything but exactly one `chunked`, or any Transfer-Encoding in HTTP/1.0 (RFC 9112 6.1).
  case unsupportedTransferCoding
  case headTooLarge
  case targetTooLong
  case tooManyFields
  /// More options in Connection than `ConnectionOptions.maximum`.
  case tooManyConnectionOptions
  /// An Expect other than `100-continue` (RFC 9110 10.1.1).
  case unsupportedExpectation

  /// The status code to answer a refused request with. An unknown transfer coding is a 400 and not
  /// the 501 of RFC 9112 6.1: it is a defect of framing (6.3), like those around it.
  public var status: UInt16 {
    switch self {
    case .headTooLarge, .tooManyFields, .tooManyConnectionOptions: 431
    case .targetTooLong: 414
    case .unsupportedExpectation: 417
    case .unsupportedVersion, .http2Preface: 505
    default: 400
    }
  }

  /// The name of the rule in logs and metrics; stable.
  public var label: StaticString {
    switch self {
    case .bareLF: "bare_lf"
    case .bareCR: "bare_cr"
    case .controlByte: "control_byte"
    case .spaceBeforeColon: "space_before_colon"
    case .obsFold: "obs_fold"
    case .emptyFieldName: "empty_field_name"
    case .invalidFieldName: "invalid_field_name"
    case .invalidFieldValue: "invalid_field_value"
    case .invalidMethod: "invalid_method"
    case .invalidTarget: "invalid_target"
    case .invalidVersion: "invalid_version"
    case .unsupportedVersion: "unsupported_version"
    case .http2Preface: "prior_knowledge"
    case .invalidStatusLine: "invalid_status_line"
    case .invalidStatusCode: "invalid_status_code"
    case .missingHost: "missing_host"
    case .duplicateHost: "duplicate_host"
    case .invalidHost: "invalid_host"
    case .duplicateContentLength: "duplicate_content_length"
    case .invalidContentLength: "invalid_content_length"
    case .contentLengthAndTransferEncoding: "content_length_and_transfer_encoding"
    case .unsupportedTransferCoding: "unsupported_transfer_coding"
    case .headTooLarge: "head_too_large"
    case .targetTooLong: "target_too_long"
    case .tooManyFields: "too_many_fields"
    case .tooManyConnectionOptions: "too_many_connection_options"
    case .unsupportedExpectation: "unsupported_expectation"
    }
  }
}
