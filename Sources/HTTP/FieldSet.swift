// A set of field names as one machine word, so that "all but these" is a mask and a test.

/// A set of recognised field names, one bit for each `FieldName`.
public struct FieldSet: OptionSet, Sendable {
  public let rawValue: UInt64

  @inlinable
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// The set that holds `name` alone.
  @inlinable
  public init(_ name: FieldName) { rawValue = 1 &<< UInt64(name.rawValue) }

  /// Whether `name` is in the set.
  @inlinable
  public func has(_ name: FieldName) -> Bool {
    rawValue & (1 &<< UInt64(name.rawValue)) != 0
  }

  @inlinable public static var other: FieldSet { FieldSet(FieldName.other) }
  @inlinable public static var host: FieldSet { FieldSet(FieldName.host) }
  @inlinable public static var connection: FieldSet { FieldSet(FieldName.connection) }
  @inlinable public static var contentLength: FieldSet { FieldSet(FieldName.contentLength) }
  @inlinable public static var transferEncoding: FieldSet { FieldSet(FieldName.transferEncoding) }
  @inlinable public static var expect: FieldSet { FieldSet(FieldName.expect) }
  @inlinable public static var te: FieldSet { FieldSet(FieldName.te) }
  @inlinable public static var trailer: FieldSet { FieldSet(FieldName.trailer) }
  @inlinable public static var upgrade: FieldSet { FieldSet(FieldName.upgrade) }
  @inlinable public static var via: FieldSet { FieldSet(FieldName.via) }
  @inlinable public static var xForwardedFor: FieldSet { FieldSet(FieldName.xForwardedFor) }
  @inlinable public static var xForwardedProto: FieldSet { FieldSet(FieldName.xForwardedProto) }
  @inlinable public static var xForwardedHost: FieldSet { FieldSet(FieldName.xForwardedHost) }
  @inlinable public static var xForwardedPort: FieldSet { FieldSet(FieldName.xForwardedPort) }
  @inlinable public static var forwarded: FieldSet { FieldSet(FieldName.forwarded) }
  @inlinable public static var keepAlive: FieldSet { FieldSet(FieldName.keepAlive) }
  @inlinable public static var proxyConnection: FieldSet { FieldSet(FieldName.proxyConnection) }
  @inlinable public static var proxyAuthenticate: FieldSet { FieldSet(FieldName.proxyAuthenticate) }
  @inlinable public static var proxyAuthorization: FieldSet {
    FieldSet(FieldName.proxyAuthorization)
  }
  @inlinable public static var proxyAuthenticationInfo: FieldSet {
    FieldSet(FieldName.proxyAuthenticationInfo)
  }
  @inlinable public static var http2Settings: FieldSet { FieldSet(FieldName.http2Settings) }
  @inlinable public static var date: FieldSet { FieldSet(FieldName.date) }
  @inlinable public static var server: FieldSet { FieldSet(FieldName.server) }
  @inlinable public static var contentType: FieldSet { FieldSet(FieldName.contentType) }
  @inlinable public static var contentEncoding: FieldSet { FieldSet(FieldName.contentEncoding) }
  @inlinable public static var contentRange: FieldSet { FieldSet(FieldName.contentRange) }
  @inlinable public static var userAgent: FieldSet { FieldSet(FieldName.userAgent) }
  @inlinable public static var accept: FieldSet { FieldSet(FieldName.accept) }
  @inlinable public static var acceptEncoding: FieldSet { FieldSet(FieldName.acceptEncoding) }
  @inlinable public static var xRequestID: FieldSet { FieldSet(FieldName.xRequestID) }
  @inlinable public static var xRealIP: FieldSet { FieldSet(FieldName.xRealIP) }
  @inlinable public static var traceparent: FieldSet { FieldSet(FieldName.traceparent) }
  @inlinable public static var tracestate: FieldSet { FieldSet(FieldName.tracestate) }
  @inlinable public static var authorization: FieldSet { FieldSet(FieldName.authorization) }
  @inlinable public static var cookie: FieldSet { FieldSet(FieldName.cookie) }
  @inlinable public static var setCookie: FieldSet { FieldSet(FieldName.setCookie) }
  @inlinable public static var wwwAuthenticate: FieldSet { FieldSet(FieldName.wwwAuthenticate) }
  @inlinable public static var cacheControl: FieldSet { FieldSet(FieldName.cacheControl) }
  @inlinable public static var pragma: FieldSet { FieldSet(FieldName.pragma) }
  @inlinable public static var maxForwards: FieldSet { FieldSet(FieldName.maxForwards) }
  @inlinable public static var range: FieldSet { FieldSet(FieldName.range) }
  @inlinable public static var ifMatch: FieldSet { FieldSet(FieldName.ifMatch) }
  @inlinable public static var ifNoneMatch: FieldSet { FieldSet(FieldName.ifNoneMatch) }
  @inlinable public static var ifModifiedSince: FieldSet { FieldSet(FieldName.ifModifiedSince) }
  @inlinable public static var ifUnmodifiedSince: FieldSet { FieldSet(FieldName.ifUnmodifiedSince) }
  @inlinable public static var ifRange: FieldSet { FieldSet(FieldName.ifRange) }
  @inlinable public static var age: FieldSet { FieldSet(FieldName.age) }
  @inlinable public static var expires: FieldSet { FieldSet(FieldName.expires) }
  @inlinable public static var location: FieldSet { FieldSet(FieldName.location) }
  @inlinable public static var retryAfter: FieldSet { FieldSet(FieldName.retryAfter) }
  @inlinable public static var vary: FieldSet { FieldSet(FieldName.vary) }
  @inlinable public static var referer: FieldSet { FieldSet(FieldName.referer) }
  @inlinable public static var origin: FieldSet { FieldSet(FieldName.origin) }
  @inlinable public static var etag: FieldSet { FieldSet(FieldName.etag) }
  @inlinable public static var lastModified: FieldSet { FieldSet(FieldName.lastModified) }
  @inlinable public static var allow: FieldSet { FieldSet(FieldName.allow) }
  @inlinable public static var xAccelBuffering: FieldSet { FieldSet(FieldName.xAccelBuffering) }
  @inlinable public static var untrusted: FieldSet { FieldSet(FieldName.untrusted) }
  @inlinable public static var ambiguous: FieldSet { FieldSet(FieldName.ambiguous) }

  /// The fields that belong to one connection and are never forwarded, whether or not Connection
  /// names them: those of RFC 9110 7.6.1; Trailer, which the forwarder announces itself; the proxy
  /// authentication fields, which RFC 2616 13.5.1 counted among them and which concern a forward
  /// proxy only; and what is left of an h2c upgrade that this proxy never performs (RFC 7540 3.2.1).
  @inlinable
  package static var connectionSpecific: FieldSet {
    [
      .connection, .keepAlive, .proxyConnection, .te, .trailer, .transferEncoding, .upgrade,
      .proxyAuthenticate, .proxyAuthorization, .proxyAuthenticationInfo, .http2Settings,
    ]
  }

  /// The fields that a nomination in Connection cannot remove: without them the next hop would
  /// frame, route or attribute the message otherwise than this one did.
  @inlinable
  package static var neverNominated: FieldSet {
    [
      .host, .contentLength, .via, .forwarded, .xForwardedFor, .xForwardedProto, .xForwardedHost,
      .xForwardedPort, .xRealIP,
    ]
  }

  /// The fields that have no meaning, or a dangerous one, after the content: framing, routing,
  /// request modifiers, authentication, response control and content handling (RFC 9110 6.5.1,
  /// with the list of RFC 7230 4.1.2), and what says who the client is or which path was meant,
  /// which this proxy vouches for or takes out.
  @inlinable
  package static var forbiddenInTrailers: FieldSet {
    connectionSpecific.union(neverNominated).union([
      .expect, .maxForwards, .cacheControl, .pragma, .range, .ifMatch, .ifNoneMatch,
      .ifModifiedSince, .ifUnmodifiedSince, .ifRange, .authorization, .cookie, .setCookie,
      .wwwAuthenticate, .age, .date, .expires, .location, .retryAfter, .vary, .contentType,
      .contentEncoding, .contentRange, .untrusted, .ambiguous,
    ])
  }
}
