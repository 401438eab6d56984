"""curl: by ALPN, by prior knowledge, and over HTTP/1.1; each exchange is a process of its own."""

import os
import shutil
import subprocess

import exchanges
from clients import ALL, BOTH, BaseClient, Variant, times

# Its offer to upgrade (RFC 7540 3.2, which RFC 9113 gave up) is left unanswered: it stays with HTTP/1.1.
VARIANTS = [*BOTH, Variant("clear, offer of h2c", False, "offer")]
EXCHANGES = ALL


def missing():
    if not shutil.which("curl"):
        return "curl is not installed"
    return None if "HTTP2" in version_text() else "this curl has no HTTP/2"


def version_text():
    return subprocess.run(["curl", "-V"], capture_output=True, text=True, check=True).stdout


def version():
    return " ".join(version_text().split()[:2])


class Client(BaseClient):
    def expected(self, name):
        # curl 7.88 uses no connection twice that began by prior knowledge (exit 16, with nginx as well).
        if self.variant.name == "clear, http/2" and name in ("parallel", "idle", "drain"):
            return None
        # Until the first response has come it does not know whether its connection can be shared, and waits.
        if self.variant.version == "offer" and name == "parallel":
            return None
        return super().expected(name)

    def command(self, *arguments):
        version = {"1.1": "--http1.1", "any": "--http1.1", "offer": "--http2"}.get(self.variant.version)
        version = version or ("--http2" if self.variant.tls else "--http2-prior-knowledge")
        return ["curl", "-sS", "-m", "60", "--cacert", self.target.authority, version, *arguments]

    def run(self, *arguments, content=b""):
        """Output, and lines of the response heads, in which the version must be the one asked for."""
        head = self.target.folder / "head"
        head.unlink(missing_ok=True)
        done = subprocess.run(
            self.command("-D", head, *arguments), input=content, capture_output=True, timeout=90, check=False)
        if done.returncode:
            raise AssertionError(f"exit {done.returncode}: {done.stderr.decode()}")
        lines = head.read_text("latin-1").splitlines()
        wanted = {"2": "HTTP/2 ", "any": "HTTP/1."}.get(self.variant.version, "HTTP/1.1 ")
        starts = [line for line in lines if line.startswith("HTTP/")]
        if not all(line.startswith(wanted) for line in starts):
            raise AssertionError(f"another version: {starts}")
        return done.stdout, lines

    def fetch(self, path, *arguments, content=b""):
        body, lines = self.run(*arguments, self.target.url(path), content=content)
        statuses = [line.split()[1] for line in lines if line.startswith("HTTP/")]
        fields = {}
        for line in lines:
            name, _, value = line.partition(": ")
            fields[name.lower()] = value
        return statuses, fields, body

    def small(self):
        statuses, _, body = self.fetch("/small")
        return f"{statuses[-1]} {body.decode().strip()}"

    def large(self):
        statuses, _, body = self.fetch("/large")
        return f"{statuses[-1]} {len(body)} {exchanges.digest(body)}"

    def post(self):
        statuses, _, body = self.fetch("/echo", "--data-binary", "@-", content=exchanges.UPLOAD)
        return f"{statuses[-1]} {body.decode()}"

    def stream(self):
        statuses, _, body = self.fetch(
            "/echo", "-X", "POST", "-T", "-", content=b"".join(exchanges.STREAM))
        return f"{statuses[-1]} {body.decode()}"

    def head(self):
        statuses, fields, body = self.fetch("/small", "-I")
        # With -I, curl writes the head as its output.
        content = body.partition(b"\r\n\r\n")[2]
        return f"{statuses[-1]} length {fields['content-length']}, content {len(content)}"

    def missing(self):
        statuses, _, body = self.fetch("/missing")
        return f"{statuses[-1]} {body.decode().strip()}"

    def redirect(self):
        statuses, fields, _ = self.fetch("/moved")
        return f"{statuses[-1]} {fields['location']}"

    def parallel(self):
        def get():
            output, _ = self.run(
                "--no-progress-meter", "--parallel", "--parallel-max", str(exchanges.TOGETHER), "-o", os.devnull,
                "-w", "%{http_code}\\n", self.target.url(f"/together?[1-{exchanges.TOGETHER}]"))
            return output.decode().split()

        statuses, connections = self.target.count_connections(get)
        return f"{times(statuses)}, connections {connections}"

    def trailers(self):
        statuses, fields, body = self.fetch("/trailers")
        return f"{statuses[-1]} {body.decode()}, x-sum {fields.get('x-sum')}"

    def early(self):
        statuses, fields, body = self.fetch("/early")
        return f"{statuses[0]} {fields.get('link')}, {statuses[-1]} {body.decode()}"

    # `continue` is a keyword.
    def wait_for_continue(self):
        statuses, _, body = self.fetch(
            "/echo", "-H", "Expect: 100-continue", "--data-binary", "@-", content=exchanges.UPLOAD)
        return f"{', '.join(statuses)} {body.decode()}"

    def cancel(self):
        done = subprocess.run(
            self.command("-m", "0.5", "-o", os.devnull, self.target.url("/endless")),
            capture_output=True, timeout=60, check=False)
        # 28: the time that it was given is over.
        return f"{'cancelled' if done.returncode == 28 else done.stderr.decode()}, then {self.small()}"

    def abort(self):
        process = subprocess.Popen(
            self.command("-X", "POST", "-T", "-", self.target.url("/echo")),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        process.stdin.write(exchanges.STREAM[0])
        process.stdin.flush()
        self.target.proxy.settle({"exchanges": 1})
        process.kill()
        process.communicate()
        return f"aborted, then {self.small()}"

    def gzip(self):
        statuses, fields, body = self.fetch("/gzip", "--compressed")
        return f"{statuses[-1]} {fields['content-encoding']} {exchanges.digest(body)}"

    def cookies(self):
        crumbs = [word for cookie in exchanges.COOKIES for word in ("-H", f"Cookie: {cookie}")]
        if self.variant.version != "2":
            crumbs = ["-b", "; ".join(exchanges.COOKIES)]
        statuses, _, body = self.fetch("/cookies", *crumbs)
        return f"{statuses[-1]} {body.decode()}"

    def idle(self):
        def get():
            output, lines = self.run(
                "--rate", "30/m", self.target.url("/small"), self.target.url("/small"))
            statuses = [line.split()[1] for line in lines if line.startswith("HTTP/")]
            return ", ".join(f"{s} {b}" for s, b in zip(statuses, output.decode().split()))

        text, connections = self.target.count_connections(get)
        return f"{text}, connections {connections}"

    def drain(self):
        self.target.replace_soon()
        output, _ = self.run(
            "--retry", "20", "--retry-delay", "1", "--retry-all-errors", "--retry-connrefused",
            "-o", os.devnull, "-w", "%{http_code}\\n", self.target.url(f"/slow?[1-{exchanges.DRAINED}]"))
        return times(output.decode().split())


setattr(Client, "continue", Client.wait_for_continue)
