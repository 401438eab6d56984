"""The real clients: curl, openssl s_client, h2load. Each gives what it reported, unjudged."""

import dataclasses
import json
import re
import subprocess

from . import certificates, settings


@dataclasses.dataclass
class CurlResult:
    """curl's exit code, the response and what curl says of it."""

    exit: int
    head: str
    body: bytes
    facts: dict
    errors: str

    @property
    def status(self):
        return self.facts["response_code"]

    def field(self, name):
        values = [
            line.partition(":")[2].strip()
            for line in self.head.splitlines()
            if line.lower().startswith(name.lower() + ":")
        ]
        return ", ".join(values) if values else None


def curl(url, *arguments, folder, name="site.test", input_bytes=None, limit=settings.HANG):
    """One curl; `name` resolves to loopback, and our authority is trusted."""
    head, body = folder / "curl.head", folder / "curl.body"
    for file in (head, body):
        file.unlink(missing_ok=True)
    command = ["curl", "--silent", "--show-error", "--max-time", str(limit)]
    command += [
        "--connect-to",
        f"{name}::127.0.0.1:",
        "--cacert",
        certificates.authority().certificate,
    ]
    command += ["--dump-header", head, "--output", body, "--write-out", "%{json}\n"]
    done = subprocess.run(
        [*map(str, command), *map(str, arguments), url],
        input=input_bytes if input_bytes is not None else b"",
        capture_output=True,
        timeout=limit + settings.HANG,
        check=False,
    )
    try:
        facts = json.loads(done.stdout.splitlines()[-1])  # of the last transfer
    except (ValueError, IndexError):
        facts = {}
    return CurlResult(
        done.returncode,
        head.read_text("latin-1") if head.exists() else "",
        body.read_bytes() if body.exists() else b"",
        facts,
        done.stderr.decode("utf-8", "replace"),
    )


def s_client(port, *arguments, send=b"", name="site.test", limit=settings.HANG):
    """openssl s_client's whole output, stdout and stderr together."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name]
    command += ["-CAfile", certificates.authority().certificate, "-ign_eof", *arguments]
    done = subprocess.run(
        list(map(str, command)),
        input=send,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=limit,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")


@dataclasses.dataclass
class LoadResult:
    """h2load's own totals."""

    total: int
    succeeded: int
    failed: int
    statuses: dict
    text: str


def h2load(url, requests, connections, *arguments, streams=0, limit=settings.TEST_HANG):
    """Load by h2load, one thread: HTTP/1.1, or HTTP/2 with as many streams at a time on each connection."""
    version = ["-m", streams] if streams else ["--h1"]
    command = ["h2load", *version, "-n", requests, "-c", connections, "-t", 1, *arguments, url]
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=limit,
        check=False,
    )
    return parse_h2load(done.stdout.decode("utf-8", "replace"))


def parse_h2load(text):
    totals = re.search(
        r"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, "
        r"(\d+) errored, (\d+) timeout",
        text,
    )
    statuses = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if not totals or not statuses:
        raise AssertionError(f"h2load said nothing that is understood:\n{text}")
    total, succeeded, failed, errored, timed_out = map(int, totals.groups())
    classes = dict(zip(("2xx", "3xx", "4xx", "5xx"), map(int, statuses.groups())))
    return LoadResult(total, succeeded, failed + errored + timed_out, classes, text)
