"""aiohttp, which speaks HTTP/1.1 alone."""

import asyncio
import importlib.util
import ssl

import exchanges
from clients import ALL, HTTP1, BaseClient, times

VARIANTS = HTTP1
EXCHANGES = ALL


def missing():
    return None if importlib.util.find_spec("aiohttp") else "aiohttp could not be installed"


def version():
    import aiohttp

    return f"aiohttp {aiohttp.__version__}"


class Client(BaseClient):
    # Trailers and interim responses other than 100 are read and not shown.
    different = {
        "trailers": "200 body", "early": "200 page", "continue": exchanges.EXPECTED["post"],
    }

    def session(self):
        import aiohttp

        context = ssl.create_default_context(cafile=self.target.authority)
        return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, limit=exchanges.TOGETHER))

    def run(self, function):
        async def body():
            async with self.session() as session:
                result = await function(session)
            # A session over TLS ends its connections a moment later, if the loop still runs then.
            await asyncio.sleep(0.25)
            return result

        return asyncio.run(body())

    def text(self, method, path, **options):
        async def get(session):
            async with session.request(method, self.target.url(path), **options) as response:
                return f"{response.status} {(await response.text()).strip()}"

        return self.run(get)

    def small(self):
        return self.text("GET", "/small")

    def large(self):
        async def get(session):
            async with session.get(self.target.url("/large")) as response:
                body = await response.read()
                return f"{response.status} {len(body)} {exchanges.digest(body)}"

        return self.run(get)

    def post(self):
        return self.text("POST", "/echo", data=exchanges.UPLOAD)

    def stream(self):
        async def content():
            for piece in exchanges.STREAM:
                yield piece

        return self.text("POST", "/echo", data=content())

    def head(self):
        async def get(session):
            async with session.head(self.target.url("/small")) as response:
                body = await response.read()
                return f"{response.status} length {response.headers['content-length']}, content {len(body)}"

        return self.run(get)

    def missing(self):
        return self.text("GET", "/missing")

    def redirect(self):
        async def get(session):
            async with session.get(self.target.url("/moved"), allow_redirects=False) as response:
                return f"{response.status} {response.headers['location']}"

        return self.run(get)

    def parallel(self):
        async def one(session):
            async with session.get(self.target.url("/together")) as response:
                return response.status

        async def get(session):
            return await asyncio.gather(*(one(session) for _ in range(exchanges.TOGETHER)))

        statuses, connections = self.target.count_connections(lambda: self.run(get))
        return f"{times(statuses)}, connections {connections}"

    def trailers(self):
        return self.text("GET", "/trailers")

    def early(self):
        return self.text("GET", "/early")

    def cancel(self):
        async def get(session):
            async with session.get(self.target.url("/endless")) as response:
                await response.content.read(1000)

        self.run(get)
        return f"cancelled, then {self.small()}"

    def abort(self):
        async def content():
            yield exchanges.STREAM[0]
            await asyncio.sleep(60)

        async def post(session):
            sending = asyncio.create_task(session.post(self.target.url("/echo"), data=content()))
            await asyncio.sleep(0.2)
            sending.cancel()

        self.run(post)
        return f"aborted, then {self.small()}"

    def gzip(self):
        async def get(session):
            async with session.get(self.target.url("/gzip")) as response:
                body = await response.read()
                return f"{response.status} {response.headers['content-encoding']} {exchanges.digest(body)}"

        return self.run(get)

    def cookies(self):
        return self.text("GET", "/cookies", headers={"cookie": "; ".join(exchanges.COOKIES)})

    def idle(self):
        async def get(session):
            texts = []
            for pause in (2, 0):
                async with session.get(self.target.url("/small")) as response:
                    texts.append(f"{response.status} {(await response.text()).strip()}")
                await asyncio.sleep(pause)
            return ", ".join(texts)

        text, connections = self.target.count_connections(lambda: self.run(get))
        return f"{text}, connections {connections}"

    def drain(self):
        import aiohttp

        async def get(session):
            statuses = []
            for _ in range(exchanges.DRAINED):
                while True:
                    try:
                        async with session.get(self.target.url("/slow")) as response:
                            statuses.append(response.status)
                        break
                    except aiohttp.ClientConnectorError:
                        await asyncio.sleep(0.05)
            return times(statuses)

        self.target.replace_soon()
        return self.run(get)


def _continue(self):
    return self.text("POST", "/echo", data=exchanges.UPLOAD, expect100=True)


setattr(Client, "continue", _continue)
