// The room of HTTP/2 (RFC 9113): sessions as machines over memory, on nghttp2.
