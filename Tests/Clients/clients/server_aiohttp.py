"""An aiohttp application: PORT, a large file, a text to compress."""

import gzip
import hashlib
import pathlib
import sys

from aiohttp import web

LARGE, TEXT = (pathlib.Path(name).read_bytes() for name in sys.argv[2:])


async def answer(request):
    match request.path:
        case "/small":
            return web.Response(text="hello\n")
        case "/large":
            return web.Response(body=LARGE)
        case "/echo":
            body = await request.read()
            framing = "length" if request.content_length is not None else "chunked"
            digest = hashlib.sha256(body).hexdigest()[:8]
            return web.Response(text=f"{request.method} {framing} {len(body)} {digest}")
        case "/moved":
            raise web.HTTPFound("/small")
        case "/together":
            return web.Response()
        case "/gzip":
            return web.Response(body=gzip.compress(TEXT), headers={"Content-Encoding": "gzip"})
        case "/cookies":
            return web.Response(text=" | ".join(request.headers.getall("cookie")))
    raise web.HTTPNotFound


application = web.Application(client_max_size=1 << 24)
application.router.add_route("*", "/{path:.*}", answer)
web.run_app(application, host="127.0.0.1", port=int(sys.argv[1]), print=None)
