// Why a head that came by HTTP/2 was refused: one case for each rule, so that a log tells what a peer
// did wrong. A malformed head is a stream error of type PROTOCOL_ERROR (RFC 9113 8.1.1); a server may
// answer a request with `status` first.

/// The rule that a head broke.
public enum HTTP2HeadRejection: UInt8, Error, Sendable, CaseIterable {
  /// A field name that is empty, or has a byte that is no token character or an upper-case letter
  /// (RFC 9113 8.2.1).
  case invalidFieldName
  /// A field value with a control byte other than HTAB, or with white space at an end (8.2.1).
  case invalidFieldValue
  /// A pseudo-field behind a field, or in a trailer section (8.1, 8.3).
  case misplacedPseudoField
  /// A pseudo-field that is not defined for this message (8.3).
  case unknownPseudoField
  case duplicatePseudoField
  case missingPseudoField
  case invalidMethod
  /// A `:scheme` other than http and https.
  case invalidScheme
  /// A `:protocol` that is no token (RFC 8441 4).
  case invalidProtocol
  /// A `:path` that is empty or of no form that the method allows (8.3.1).
  case invalidPath
  case pathTooLong
  case invalidAuthority
  /// Neither `:authority` nor Host.
  case missingAuthority
  case duplicateHost
  /// Host that names another host than `:authority` (8.3.1).
  case contradictingHost
  /// A field that belongs to a connection of HTTP/1.1, or TE with more than `trailers` (8.2.2).
  case connectionSpecificField
  case duplicateContentLength
  /// A Content-Length that is not digits, above 2⁶³ − 1, or not 0 where no content follows (8.1.1).
  case invalidContentLength
  /// A `:status` that is not three digits from 100 to 999, or is 101, which HTTP/2 does not have (8.6).
  case invalidStatus
  case tooManyFields
  /// An Expect other than `100-continue` (RFC 9110 10.1.1).
  case unsupportedExpectation

  /// The status code to answer a refused request with.
  public var status: UInt16 {
    switch self {
    case .tooManyFields: 431
    case .pathTooLong: 414
    case .unsupportedExpectation: 417
    default: 400
    }
  }

  /// The name of the rule in logs and metrics; stable, and that of HTTP/1.1's where it is the same.
  public var label: StaticString {
    switch self {
    case .invalidFieldName: "invalid_field_name"
    case .invalidFieldValue: "invalid_field_value"
    case .misplacedPseudoField: "misplaced_pseudo_field"
    case .unknownPseudoField: "unknown_pseudo_field"
    case .duplicatePseudoField: "duplicate_pseudo_field"
    case .missingPseudoField: "missing_pseudo_field"
    case .invalidMethod: "invalid_method"
    case .invalidScheme: "invalid_scheme"
    case .invalidProtocol: "invalid_protocol"
    case .invalidPath: "invalid_target"
    case .pathTooLong: "target_too_long"
    case .invalidAuthority: "invalid_host"
    case .missingAuthority: "missing_host"
    case .duplicateHost: "duplicate_host"
    case .contradictingHost: "contradicting_host"
    case .connectionSpecificField: "connection_specific_field"
    case .duplicateContentLength: "duplicate_content_length"
    case .invalidContentLength: "invalid_content_length"
    case .invalidStatus: "invalid_status_code"
    case .tooManyFields: "too_many_fields"
    case .unsupportedExpectation: "unsupported_expectation"
    }
  }
}
