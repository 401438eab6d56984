"""httpx with HTTP/2 (httpcore and h2). It has no word for interim responses and trailers: that they do
not disturb it is what is shown."""

import asyncio
import importlib.util
import time

import exchanges
from clients import ALL, BOTH, BaseClient, times

# Without TLS it speaks HTTP/2 by prior knowledge once HTTP/1.1 is turned off.
VARIANTS = BOTH
EXCHANGES = ALL


def missing():
    needed = ("httpx", "h2")
    return None if all(map(importlib.util.find_spec, needed)) else "httpx or h2 could not be installed"


def version():
    import h2
    import httpx

    return f"httpx {httpx.__version__}, h2 {h2.__version__}"


class Client(BaseClient):
    different = {
        "trailers": "200 body",
        "early": "200 page",
        # It does not wait for the interim response.
        "continue": exchanges.EXPECTED["post"],
    }

    def __init__(self, target, variant):
        super().__init__(target, variant)
        self.client = self.make()

    def make(self, kind="Client", **options):
        import httpx
        import ssl

        context = ssl.create_default_context(cafile=self.target.authority)
        two = self.variant.version == "2"
        return getattr(httpx, kind)(
            http2=two, http1=not two, verify=context, timeout=30, trust_env=False, **options)

    def close(self):
        self.client.close()

    def renew(self):
        """httpcore sends no RST_STREAM: what it gave up goes on until its connection ends."""
        self.client.close()
        self.client = self.make()

    def request(self, method, path, **options):
        response = self.client.request(method, self.target.url(path), **options)
        wanted = "HTTP/2" if self.variant.version == "2" else "HTTP/1.1"
        if response.http_version != wanted:
            raise AssertionError(f"another version: {response.http_version}")
        return response

    def text(self, method, path, **options):
        response = self.request(method, path, **options)
        return f"{response.status_code} {response.text.strip()}"

    def small(self):
        return self.text("GET", "/small")

    def large(self):
        response = self.request("GET", "/large")
        return f"{response.status_code} {len(response.content)} {exchanges.digest(response.content)}"

    def post(self):
        return self.text("POST", "/echo", content=exchanges.UPLOAD)

    def stream(self):
        return self.text("POST", "/echo", content=iter(exchanges.STREAM))

    def head(self):
        response = self.request("HEAD", "/small")
        return f"{response.status_code} length {response.headers['content-length']}, content {len(response.content)}"

    def missing(self):
        return self.text("GET", "/missing")

    def redirect(self):
        response = self.request("GET", "/moved")
        return f"{response.status_code} {response.headers['location']}"

    def parallel(self):
        async def get():
            async with self.make("AsyncClient", limits=_limits(exchanges.TOGETHER)) as client:
                responses = await asyncio.gather(
                    *(client.get(self.target.url("/together")) for _ in range(exchanges.TOGETHER)))
            return [response.status_code for response in responses]

        statuses, connections = self.target.count_connections(lambda: asyncio.run(get()))
        return f"{times(statuses)}, connections {connections}"

    def trailers(self):
        return self.text("GET", "/trailers")

    def early(self):
        return self.text("GET", "/early")

    def cancel(self):
        with self.client.stream("GET", self.target.url("/endless")) as response:
            next(response.iter_raw())
        text = self.small()
        self.renew()
        return f"cancelled, then {text}"

    def abort(self):
        def content():
            yield exchanges.STREAM[0]
            self.target.proxy.settle({"exchanges": 1})
            raise InterruptedError

        try:
            self.request("POST", "/echo", content=content())
        except InterruptedError:
            text = self.small()
            self.renew()
            return f"aborted, then {text}"
        return "not aborted"

    def gzip(self):
        response = self.request("GET", "/gzip")
        return f"{response.status_code} {response.headers['content-encoding']} {exchanges.digest(response.content)}"

    def cookies(self):
        return self.text("GET", "/cookies", headers={"cookie": "; ".join(exchanges.COOKIES)})

    def idle(self):
        def get():
            with self.make() as client:
                first = client.get(self.target.url("/small")).text.strip()
                time.sleep(2)
                return f"200 {first}, 200 {client.get(self.target.url('/small')).text.strip()}"

        text, connections = self.target.count_connections(get)
        return f"{text}, connections {connections}"

    def drain(self):
        """httpcore takes any GOAWAY for the end of the streams that are open, and of the whole connection:
        they have to be sent again, as is safe for GET."""
        import httpx

        self.target.replace_soon()
        statuses = []
        with self.make() as client:
            for _ in range(exchanges.DRAINED):
                while True:
                    try:
                        statuses.append(client.get(self.target.url("/slow")).status_code)
                        break
                    except (httpx.ConnectError, httpx.RemoteProtocolError):
                        time.sleep(0.05)
        return times(statuses)


def _limits(count):
    import httpx

    return httpx.Limits(max_connections=count)


def _continue(self):
    return self.text("POST", "/echo", content=exchanges.UPLOAD, headers={"expect": "100-continue"})


setattr(Client, "continue", _continue)
