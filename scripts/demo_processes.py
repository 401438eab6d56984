"""What scripts/demo starts: the build, the certificate, the origin and the proxy; nothing of it
outlives the demo. Every wait has an end; what does not start says its last lines."""

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 15

ORIGIN = """\
{user}
worker_processes auto;
daemon off;
pid origin.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{ listen 127.0.0.1:{port} backlog=4096; root {files}; }}
}}
"""

PROXY = """\
engine: {engine}
listeners:
  - name: demo
    address: "127.0.0.1:{port}"
    tls:
      certificates: [{{certificate: "{certificate}", key: "{key}"}}]
upstreams:
  origin: {{servers: ["127.0.0.1:{origin}"]}}
audit:
  directory: "{audit}"
  durability: before_response
  when_full: reject
"""


class Stop(Exception):
    """The demo cannot go on; the text says why and what to do."""


running = []


def start(command, output, **options):
    """Starts a process that `stop_all` ends."""
    with open(output, "wb") as file:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=file, stderr=file, **options)
    running.append(process)
    return process


def stop(process, seconds):
    """Asks a process to end and waits; gives its exit status, or None when it had to be killed."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = None
    running.remove(process)
    return status


def stop_all():
    for process in list(running):
        stop(process, 5)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_tools():
    """Where nginx is: Debian keeps it in sbin, which is not in every user's path."""
    nginx = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin")
    missing = [name for name in ("h2load", "curl", "openssl", "jq") if not shutil.which(name)]
    missing += [] if nginx else ["nginx"]
    if missing:
        raise Stop(f"missing: {', '.join(missing)}; scripts/bootstrap installs them")
    return nginx


def build():
    """The release build's path; MILLRACE_BINARY names one that is there already."""
    if "MILLRACE_BINARY" in os.environ:
        return Path(os.environ["MILLRACE_BINARY"]).resolve()
    command = ["swift", "build", "-c", "release", "--product", "millrace"]
    print(f"building: {' '.join(command)}", flush=True)
    try:
        if subprocess.run(command, cwd=ROOT).returncode != 0:
            raise Stop("the build failed; the compiler's messages stand above")
        shown = subprocess.run([*command, "--show-bin-path"], cwd=ROOT, capture_output=True,
                               text=True, check=True)
    except FileNotFoundError:
        raise Stop("swift is not in the path; scripts/bootstrap says where to get it") from None
    return Path(shown.stdout.strip()) / "millrace"


def make_certificate(work):
    certificate, key = work / "certificate.pem", work / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def tail(path):
    lines = path.read_text(errors="replace").splitlines()[-8:]
    return "\n".join(f"    {line}" for line in lines)


def start_origin(nginx, work, sizes):
    """nginx with a prefix of its own, serving random files of `sizes` bytes by path; gives its port
    and the SHA-256 of every file."""
    prefix = work / "origin"
    files = prefix / "files"
    files.mkdir(parents=True)
    sums = {}
    for path, size in sizes.items():
        content = os.urandom(size)
        (files / path[1:]).write_bytes(content)
        sums[path] = hashlib.sha256(content).hexdigest()
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = prefix / "nginx.conf"
    configuration.write_text(ORIGIN.format(user=user, port=port, files=files))
    output = prefix / "output"
    process = start([nginx, "-p", f"{prefix}/", "-c", configuration, "-e", "stderr"], output)
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return port, sums
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Stop(f"nginx did not start:\n{tail(output)}") from None
            time.sleep(0.02)


def start_proxy(binary, folder, values):
    """Starts the proxy and waits for its `ready`; gives the process and what it says it selected,
    as the log's fields."""
    configuration = folder / "millrace.yaml"
    configuration.write_text(PROXY.format(**values, audit=folder / "audit"))
    log = folder / "millrace.log"
    process = start([binary, "run", configuration], log)
    deadline = time.monotonic() + START_SECONDS
    while not re.search(r" ready\b", text := log.read_text(errors="replace")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Stop(f"millrace did not start with engine {values['engine']}:\n{tail(log)}")
        time.sleep(0.02)
    selected = re.search(r"engine selected (.*)$", text, re.MULTILINE)
    return process, selected.group(1) if selected else "engine=unknown"
