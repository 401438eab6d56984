"""nghttp of nghttp2: its own account of the frames (-v) is what is read."""

import re
import shutil
import subprocess

import exchanges
from clients import HTTP2, BaseClient, times

VARIANTS = HTTP2
EXCHANGES = [
    "small", "large", "post", "stream", "head", "missing", "redirect", "parallel", "trailers", "early",
    "continue", "gzip", "cookies", "padding",
]


def missing():
    return None if shutil.which("nghttp") else "nghttp is not installed"


def version():
    return subprocess.run(["nghttp", "--version"], capture_output=True, text=True, check=True).stdout.strip()


class Client(BaseClient):
    different = {"padding": exchanges.EXPECTED["post"]}

    def run(self, path, *arguments):
        done = subprocess.run(
            ["nghttp", "-y", "-t", "30", *map(str, arguments), self.target.url(path)],
            capture_output=True, timeout=60, check=False)
        # It has no exit code for an error of the protocol.
        if done.returncode or done.stderr:
            raise AssertionError(f"exit {done.returncode}: {done.stderr.decode()}")
        return done.stdout

    def account(self, path, *arguments):
        """Statuses and fields from the frames that came, and the text with them."""
        text = self.run(path, "-v", *arguments).decode("latin-1")
        fields = re.findall(r"recv \(stream_id=\d+(?:, sensitive)?\) (:?[^:]+): (.*)", text)
        if re.search(r"recv (RST_STREAM|GOAWAY) frame", text):
            raise AssertionError(f"an error was sent: {text[-300:]}")
        return [value for name, value in fields if name == ":status"], dict(fields), text

    def file(self, content):
        path = self.target.folder / "upload"
        path.write_bytes(content)
        return path

    def body(self, text, pattern):
        found = re.search(pattern, text)
        return found.group(0) if found else "not found"

    def upload(self, content, *arguments):
        statuses, _, text = self.account("/echo", "-d", self.file(content), *arguments)
        return f"{', '.join(statuses)} " + self.body(text, r"POST (length|chunked) \d+ [0-9a-f]{8}")

    def small(self):
        statuses, _, text = self.account("/small")
        return f"{statuses[-1]} {self.body(text, 'hello')}"

    def large(self):
        body = self.run("/large")
        return f"200 {len(body)} {exchanges.digest(body)}"

    def post(self):
        return self.upload(exchanges.UPLOAD)

    def padding(self):
        return self.upload(exchanges.UPLOAD, "-b", "100")

    def stream(self):
        return self.upload(b"".join(exchanges.STREAM), "--no-content-length", "--trailer", "x-own: 1")

    def head(self):
        statuses, fields, text = self.account("/small", "-H", ":method: HEAD")
        return f"{statuses[-1]} length {fields['content-length']}, content {text.count('recv DATA')}"

    def missing(self):
        statuses, _, text = self.account("/missing")
        return f"{statuses[-1]} {self.body(text, 'nothing here')}"

    def redirect(self):
        statuses, fields, _ = self.account("/moved")
        return f"{statuses[-1]} {fields['location']}"

    def parallel(self):
        def get():
            return self.account("/together", "-n", "-m", exchanges.TOGETHER)[0]

        statuses, connections = self.target.count_connections(get)
        return f"{times(statuses)}, connections {connections}"

    def trailers(self):
        statuses, fields, text = self.account("/trailers")
        return f"{statuses[-1]} {self.body(text, 'body')}, x-sum {fields.get('x-sum')}"

    def early(self):
        statuses, fields, text = self.account("/early")
        return f"{statuses[0]} {fields.get('link')}, {statuses[-1]} {self.body(text, 'page')}"

    def gzip(self):
        _, fields, _ = self.account("/gzip", "-n")
        return f"200 {fields['content-encoding']} {exchanges.digest(self.run('/gzip'))}"

    def cookies(self):
        crumbs = [word for cookie in exchanges.COOKIES for word in ("-H", f"cookie: {cookie}")]
        statuses, _, text = self.account("/cookies", *crumbs)
        return f"{statuses[-1]} {self.body(text, 'a=1.*c=3')}"


def _continue(self):
    return self.upload(exchanges.UPLOAD, "--expect-continue")


setattr(Client, "continue", _continue)
