// The field names that the proxy treats by name, and how each is usually written. Names that it
// only carries from one side to the other are all `other`. At most 64, so that a set of them is
// one word (FieldSet).

/// A field name that this codec recognises, in any case (RFC 9110 5.1: names are
/// case-insensitive).
public enum FieldName: UInt8, Sendable, CaseIterable {
  case other = 0, host, connection, contentLength, transferEncoding, expect, te, trailer
  case upgrade, via, xForwardedFor, xForwardedProto, xForwardedHost, xForwardedPort, forwarded
  case keepAlive, proxyConnection, proxyAuthenticate, proxyAuthorization
  case proxyAuthenticationInfo, http2Settings, date, server, contentType, contentEncoding
  case contentRange, userAgent, accept, acceptEncoding, xRequestID, xRealIP, traceparent
  case tracestate, authorization, cookie, setCookie, wwwAuthenticate, cacheControl, pragma
  case maxForwards, range, ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince, ifRange
  case age, expires, location, retryAfter, vary, referer, origin, etag, lastModified
  case allow, xAccelBuffering
  /// A name by which a proxy tells a server what the server cannot see, or by which a request
  /// would make it act: X-Forwarded-Prefix, True-Client-IP, X-Original-URL and their like. The list
  /// is `imitation`'s.
  case untrusted
  /// A name that a server which reads "_" as "-" takes for one that this proxy writes, that frames
  /// the message, or that is `untrusted`: X_Forwarded_For, Content_Length.
  case ambiguous

  /// The name as its specification writes it; empty for `other`, `untrusted` and `ambiguous`, which
  /// are many.
  public var canonicalName: StaticString {
    switch self {
    case .other, .untrusted, .ambiguous: ""
    case .host: "Host"
    case .connection: "Connection"
    case .contentLength: "Content-Length"
    case .transferEncoding: "Transfer-Encoding"
    case .expect: "Expect"
    case .te: "TE"
    case .trailer: "Trailer"
    case .upgrade: "Upgrade"
    case .via: "Via"
    case .xForwardedFor: "X-Forwarded-For"
    case .xForwardedProto: "X-Forwarded-Proto"
    case .xForwardedHost: "X-Forwarded-Host"
    case .xForwardedPort: "X-Forwarded-Port"
    case .forwarded: "Forwarded"
    case .keepAlive: "Keep-Alive"
    case .proxyConnection: "Proxy-Connection"
    case .proxyAuthenticate: "Proxy-Authenticate"
    case .proxyAuthorization: "Proxy-Authorization"
    case .proxyAuthenticationInfo: "Proxy-Authentication-Info"
    case .http2Settings: "HTTP2-Settings"
    case .date: "Date"
    case .server: "Server"
    case .contentType: "Content-Type"
    case .contentEncoding: "Content-Encoding"
    case .contentRange: "Content-Range"
    case .userAgent: "User-Agent"
    case .accept: "Accept"
    case .acceptEncoding: "Accept-Encoding"
    case .xRequestID: "X-Request-ID"
    case .xRealIP: "X-Real-IP"
    case .traceparent: "traceparent"
    case .tracestate: "tracestate"
    case .authorization: "Authorization"
    case .cookie: "Cookie"
    case .setCookie: "Set-Cookie"
    case .wwwAuthenticate: "WWW-Authenticate"
    case .cacheControl: "Cache-Control"
    case .pragma: "Pragma"
    case .maxForwards: "Max-Forwards"
    case .range: "Range"
    case .ifMatch: "If-Match"
    case .ifNoneMatch: "If-None-Match"
    case .ifModifiedSince: "If-Modified-Since"
    case .ifUnmodifiedSince: "If-Unmodified-Since"
    case .ifRange: "If-Range"
    case .age: "Age"
    case .expires: "Expires"
    case .location: "Location"
    case .retryAfter: "Retry-After"
    case .vary: "Vary"
    case .referer: "Referer"
    case .origin: "Origin"
    case .etag: "ETag"
    case .lastModified: "Last-Modified"
    case .allow: "Allow"
    case .xAccelBuffering: "X-Accel-Buffering"
    }
  }
}
