// The door to Debian's libnghttp2: HTTP/2 frames and HPACK over memory. It holds no logic; the room
// HTTP2 is its only user.

#ifndef MILLRACE_CNGHTTP2_SHIM_H
#define MILLRACE_CNGHTTP2_SHIM_H

#include <nghttp2/nghttp2.h>

#endif
