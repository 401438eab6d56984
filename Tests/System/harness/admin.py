"""A client of the admin server, over a Unix socket or TCP, with Python's own HTTP."""

import http.client
import json
import pathlib
import socket
import tempfile


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


class Admin:
    """`address`: `unix:PATH`, or a port of 127.0.0.1."""

    def __init__(self, address):
        self.address = address

    def ask(self, method, path, content=None, fields=None):
        """(status, fields, bytes)."""
        if isinstance(self.address, int):
            connection = http.client.HTTPConnection("127.0.0.1", self.address, timeout=20)
        else:
            connection = _UnixConnection(str(self.address).removeprefix("unix:"))
        try:
            body = None if content is None else json.dumps(content)
            connection.request(method, path, body=body, headers=fields or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path, **fields):
        return self.ask("GET", path, fields=fields)

    def json(self, path):
        status, _, content = self.get(path)
        assert status == 200, (status, content)
        return json.loads(content)

    def post(self, path, content=None):
        status, _, answer = self.ask("POST", path, content if content is not None else {})
        return status, json.loads(answer)

    def metrics(self, **fields):
        """(content type, text)."""
        status, found, content = self.ask("GET", "/metrics", fields=fields)
        assert status == 200, status
        return found["Content-Type"], content.decode()


def with_admin(test, config, address=None):
    """Adds an admin server to a configuration, on a Unix socket by default. - Returns: its client."""
    if address is None:
        # Short: the kernel takes 107 bytes.
        folder = tempfile.mkdtemp(prefix="mr-")
        test.addCleanup(lambda: pathlib.Path(folder).rmdir())
        address = f"unix:{folder}/a.sock"
        config["admin"] = {"address": address}
        return Admin(address)
    config["admin"] = {"address": f"127.0.0.1:{address}"}
    return Admin(address)


def series(text):
    """{(name, (label, value)...): number} of a text in Prometheus' format 0.0.4, by a parser of its own."""
    found = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, labels, at = line.split("{")[0].split(" ")[0], [], 0
        if "{" in line:
            at = line.index("{") + 1
            while line[at] != "}":
                end = line.index("=", at)
                label, at, value = line[at:end], end + 2, ""
                while line[at] != '"':
                    if line[at] == "\\":
                        at += 1
                        value += {"n": "\n"}.get(line[at], line[at])
                    else:
                        value += line[at]
                    at += 1
                labels.append((label, value))
                at += 1
                if line[at] == ",":
                    at += 1
            rest = line[at + 1 :]
        else:
            rest = line[len(name) :]
        key = (name, *sorted(labels))
        assert key not in found, f"{key} twice"
        found[key] = float(rest)
    return found


def total(figures, name, **labels):
    """The sum of a family's series with these labels."""
    rows = [
        value for (family, *has), value in figures.items()
        if family == name and labels.items() <= dict(has).items()
    ]
    assert rows, f"no {name} {labels}"
    return sum(rows)
