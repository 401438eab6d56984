"""Real servers behind the proxy: curl over HTTP/2 through it must see what curl sees without it.

Static ones serve files; applications answer by path; proxies pass on what the origin of `exchanges` says.
"""

import atexit
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import exchanges
from clients import Variant, curl
from harness import certificates, configuration, ports, settings
from harness.nginx import Nginx
from harness.origin import Origin
from harness.proxy import is_listening

HERE = pathlib.Path(__file__).resolve().parent
# A hundred connections at once are more than http.server's backlog of five takes, so the last is not for it.
STATIC = ("small", "large", "head", "missing", "redirect", "parallel")
APPLICATION = ("small", "large", "post", "stream", "head", "missing", "redirect", "parallel", "gzip", "cookies")
EVERYTHING = (*APPLICATION, "trailers", "early", "continue", "cancel", "abort")
EXCHANGES = EVERYTHING

_HAPROXY = """
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend edge
  bind 127.0.0.1:{port}
  default_backend origin
backend origin
  server one 127.0.0.1:{origin}
"""

_CADDY = """
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{port} {{
  reverse_proxy 127.0.0.1:{origin}
}}
http://127.0.0.1:{files_port} {{
  root * {files}
  file_server
}}
"""

_ENVOY = """
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: edge
          proxy_100_continue: true
          http_protocol_options: {{enable_trailers: true}}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: origin}}}}]}}]
  clusters:
  - name: origin
    connect_timeout: 5s
    circuit_breakers: {{thresholds: [{{max_connections: 2000, max_requests: 2000, max_pending_requests: 2000}}]}}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}
    load_assignment:
      cluster_name: origin
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {origin}}}}}}}}}]}}]
"""


def program(name):
    """A program of the system, or of the virtual environment."""
    path = f"{pathlib.Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin"
    return shutil.which(name, path=path)


class Server(Variant):
    """Started when it is first asked for; ended with this process."""

    kinds = EVERYTHING
    secure = False
    port = None

    def __init__(self, name, kinds, start):
        super().__init__(name, True)
        self.kinds = kinds
        self._start = start

    def options(self, folder):
        if not self.port:
            self._start(self, folder)
        upstream = configuration.upstream(self.port)
        if self.secure:
            authority = str(certificates.authority().certificate)
            upstream["tls"] = {"ca": authority, "server_name": "site.test"}
        return {"upstream": upstream}

    def spawn(self, *command, port=None):
        port = port or self.port
        log = open(pathlib.Path(self.folder) / "log", "wb")
        process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)
        atexit.register(process.wait)
        atexit.register(process.kill)
        deadline = time.monotonic() + settings.HANG
        while not is_listening(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not listen: {log.name}")
            time.sleep(0.05)


def _prepare(server, folder):
    server.folder = pathlib.Path(folder) / server.name.replace(" ", "-").replace(",", "")
    server.folder.mkdir()
    server.folder.chmod(0o755)
    server.port = ports.free_port()


def _files(folder):
    (folder / "moved").mkdir(parents=True)
    # Caddy sends to a folder only if there is something to show in it.
    (folder / "moved/index.html").write_bytes(b"page\n")
    (folder / "small").write_bytes(b"hello\n")
    (folder / "large").write_bytes(exchanges.LARGE)
    # By a name alone, each of the hundred requests finds it.
    (folder / "together").write_bytes(b"")
    return folder


def _http_server(server, folder):
    _prepare(server, folder)
    files = _files(server.folder / "files")
    server.spawn(sys.executable, "-m", "http.server", "-b", "127.0.0.1", "-d", files, server.port)


def _nginx(secure):
    def start(server, folder):
        _prepare(server, folder)
        nginx = Nginx(server.folder, http2=certificates.site())
        for name, content in (("small", b"hello\n"), ("large", exchanges.LARGE), ("together", b"")):
            nginx.add(name, content)
        nginx.start()
        atexit.register(nginx.close)
        server.port = nginx.tls_port if secure else nginx.port
        server.secure = secure

    return start


def _application(*command):
    def start(server, folder):
        _prepare(server, folder)
        given = server.folder / "large"
        given.write_bytes(exchanges.LARGE)
        text = server.folder / "text"
        text.write_bytes(exchanges.TEXT)
        server.spawn(*command, server.port, given, text)

    return start


def _before_origin(name, file, text, *arguments):
    def start(server, folder):
        _prepare(server, folder)
        origin = Origin(exchanges.script)
        atexit.register(origin.close)
        files_port = ports.free_port()
        (server.folder / file).write_text(text.format(
            port=server.port, origin=origin.port, files=_files(server.folder / "files"), files_port=files_port))
        server.spawn(program(name), *arguments, server.folder / file)
        if server.kinds == STATIC:
            server.port = files_port

    return start


_ALL = {
    "http.server": ("python3", STATIC[:-1], _http_server),
    "nginx": ("nginx", STATIC, _nginx(False)),
    "nginx, tls": ("nginx", STATIC, _nginx(True)),
    "aiohttp": (None, APPLICATION, _application(sys.executable, HERE / "server_aiohttp.py")),
    "node": ("node", EVERYTHING, _application("node", HERE / "server_node.js")),
    "haproxy": ("haproxy", EVERYTHING, _before_origin("haproxy", "haproxy.cfg", _HAPROXY, "-db", "-f")),
    "caddy": ("caddy", EVERYTHING, _before_origin("caddy", "Caddyfile", _CADDY, "run", "--adapter", "caddyfile", "--config")),
    "caddy, files": ("caddy", STATIC, _before_origin("caddy", "Caddyfile", _CADDY, "run", "--adapter", "caddyfile", "--config")),
    "envoy": ("envoy", EVERYTHING, _before_origin("envoy", "envoy.yaml", _ENVOY, "--concurrency", "1", "-l", "error", "-c")),
}
VARIANTS = [
    Server(name, kinds, start) for name, (needed, kinds, start) in _ALL.items()
    if needed is None or program(needed)
]


def missing():
    return curl.missing()


def version():
    absent = [name for name, (needed, _, _) in _ALL.items() if needed and not program(needed)]
    texts = []
    for name, option in (("nginx", "-v"), ("haproxy", "-v"), ("caddy", "version"), ("envoy", "--version"), ("node", "-v")):
        if found := program(name):
            done = subprocess.run([found, option], capture_output=True, text=True, check=False)
            numbers = re.search(r"\d+\.\d+\.\d+", re.sub(r"[0-9a-f]{40}", "", done.stdout + done.stderr))
            texts.append(f"{name} {numbers.group(0)}")
    return ", ".join(texts) + (f"; not there: {', '.join(absent)}" if absent else "")


class Direct:
    """The server itself, where a client expects a proxy."""

    def __init__(self, target, server):
        self.folder, self.authority, self.tls = target.folder, target.authority, server.secure
        self.port = server.port
        self.proxy = self

    def url(self, path):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}{path}"

    def count_connections(self, do):
        return do(), 1

    def settle(self, _counters):
        time.sleep(0.2)


class Client(curl.Client):
    """A response is told without what the server says of itself."""

    known = {}

    def expected(self, name):
        if name not in self.variant.kinds:
            return None
        key = self.variant.name, name
        if key not in self.known:
            direct = Client(Direct(self.target, self.variant), Variant("direct", self.variant.secure, "any"))
            exchanges.together.reset()
            self.known[key] = getattr(direct, name)()
        return self.known[key]


    def missing(self):
        statuses, _, _ = self.fetch("/none")
        return statuses[-1]

    def redirect(self):
        statuses, fields, _ = self.fetch("/moved")
        return f"{statuses[-1]} {re.sub('^https?://[^/]*', '', fields['location'])}"


def _continue(self):
    # Caddy says it once for itself and, often, once for its server.
    return curl.Client.wait_for_continue(self).replace("100, 100", "100")


setattr(Client, "continue", _continue)
