"""A real nginx as origin: its own prefix folder, its own port, no trace outside that folder."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

from . import ports, settings
from .proxy import is_listening

_CONFIGURATION = """
daemon off;
pid nginx.pid;
worker_processes 1;
error_log stderr warn;
events {{ worker_connections 16384; }}
http {{
  log_format seen '$request_method $request_uri $status';
  log_format how '$server_protocol $connection $ssl_session_reused';
  access_log {access};
  client_body_temp_path temp/body;
  proxy_temp_path temp/proxy;
  fastcgi_temp_path temp/fastcgi;
  uwsgi_temp_path temp/uwsgi;
  scgi_temp_path temp/scgi;
  default_type application/octet-stream;
  sendfile on;
  tcp_nodelay on;
  keepalive_timeout 1h;
  keepalive_requests {keepalive_requests};
  client_max_body_size 0;
  reset_timedout_connection on;
  send_timeout 10m;
  large_client_header_buffers 4 128k;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen unix:{directory}/nginx.sock;
    {http2}
    root files;
    location / {{ }}
    location /chunked/ {{ ssi on; ssi_types *; }}
    location /put/ {{ dav_methods PUT; create_full_put_path on; }}
    location = /empty {{ return 204; }}
    location = /moved {{ return 301 /elsewhere; }}
    location = /headers {{
      return 200 "for=$http_x_forwarded_for proto=$http_x_forwarded_proto via=$http_via\\n";
    }}
  }}
}}
"""


# `http2` behind listen, because Debian's nginx 1.22 knows no other way. No sendfile: over HTTP/2
# without TLS it makes every response of nginx 1.22 wait for a delayed acknowledgement (h2load sees
# 22 requests per second and connection, too).
_HTTP2 = """listen 127.0.0.1:{clear} http2;
    listen 127.0.0.1:{tls} ssl http2;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_session_cache builtin;
    sendfile off;
    access_log how.log how;"""


class Nginx:
    """Serves `files/` of its folder; PUT below /put/ stores, and what is in /chunked/ has no length.
    With `http2`, a pair of certificate and key, `tls_port` speaks HTTP/2 over TLS and `clear_port`
    without; `how.log` then has a line for each request: protocol, connection, and `r` for a resumed
    session."""

    def __init__(self, directory, access_log=False, http2=None, keepalive_requests=1000000000):
        self.directory = pathlib.Path(directory) / "nginx"
        self.files = self.directory / "files"
        (self.directory / "temp").mkdir(parents=True)
        self.files.mkdir()
        # nginx's worker gives up root's rights: what it must read and write is open to all.
        (self.files / "put").mkdir()
        (self.files / "chunked").mkdir()
        for folder in (self.directory, self.files, self.files / "put", self.files / "chunked"):
            folder.chmod(0o777)
        (self.directory / "temp").chmod(0o777)
        self.port = ports.free_port()
        access = "access.log seen" if access_log else "off"
        listeners = ""
        if http2:
            self.clear_port, self.tls_port = ports.free_port(), ports.free_port()
            listeners = _HTTP2.format(
                clear=self.clear_port, tls=self.tls_port, certificate=http2[0], key=http2[1]
            )
        (self.directory / "nginx.conf").write_text(
            _CONFIGURATION.format(
                port=self.port,
                access=access,
                directory=self.directory,
                http2=listeners,
                keepalive_requests=keepalive_requests,
            ),
            encoding="ascii",
        )

    def add(self, name, content):
        path = self.files / name
        path.write_bytes(content)
        path.chmod(0o644)
        return path

    def add_sparse(self, name, size):
        """A file of zeros that takes no space."""
        path = self.files / name
        with open(path, "wb") as file:
            file.truncate(size)
        path.chmod(0o644)

    def start(self):
        program = shutil.which(
            "nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        )
        self._errors = open(self.directory / "errors.log", "wb")
        self.process = subprocess.Popen(
            [program, "-p", str(self.directory), "-c", "nginx.conf", "-e", "stderr"],
            stdin=subprocess.DEVNULL,
            stdout=self._errors,
            stderr=self._errors,
            start_new_session=True,
        )
        deadline = time.monotonic() + settings.HANG
        while not is_listening(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                errors = (self.directory / "errors.log").read_text("utf-8", "replace")
                raise RuntimeError(f"nginx does not listen:\n{errors}")
            time.sleep(0.02)
        return self

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(settings.HANG)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self._errors.close()
