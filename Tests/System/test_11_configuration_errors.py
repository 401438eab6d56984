"""Layer 1: a wrong configuration: exit code 2, each problem with file, line and column, no port.

In the table `^` stands right before the place that the message must point to; it is taken out
before the proxy reads the file. `check` and `run` must say the same.
"""

import re
import unittest

from harness import certificates, ports, proxy, settings
from harness.case import SystemCase, add_table, on_both_engines

START = """engine: ENGINE
listeners:
  - name: edge
    address: 127.0.0.1:PORT
"""
END = """upstreams:
  web:
    servers: ["127.0.0.1:9"]
"""
ROUTES = """routes:
  - match: {path: /}
    upstream: web
"""

ROWS = [
    # name, text, word that the message must hold
    ("unknown key at the top", START + "^workerz: 2\n" + END, "workers"),
    ("unknown key in a listener", START + "    ^adress: x\n" + END, "address"),
    ("unknown key in limits", START + END + "limits:\n  ^conections: 5\n", "connections"),
    ("unknown key in flow style", START + END + "limits: {^request_hed: 4KiB}\n", "request_head"),
    ("engine that does not exist", "engine: ^kqueue\n" + START.partition("\n")[2] + END, "epoll"),
    ("workers zero", START + "workers: ^0\n" + END, "1"),
    ("workers as words", START + "workers: ^many\n" + END, "auto"),
    ("pin that is no choice", START + "pin: ^maybe\n" + END, "auto"),
    ("address without a port", START.replace("127.0.0.1:PORT", "^127.0.0.1") + END, "port"),
    ("port too large", START.replace("127.0.0.1:PORT", "^127.0.0.1:65536") + END, "65535"),
    ("address as a list", START.replace("127.0.0.1:PORT", "^[1, 2]") + END, "list"),
    ("duration without a unit", START + "    timeouts: {head: ^10}\n" + END, "10s"),
    ("duration with a strange unit", START + "    timeouts: {head: ^10x}\n" + END, "x"),
    ("negative duration", START + "    timeouts: {idle: ^-1s}\n" + END, "-1s"),
    ("size with a strange unit", START + END + "limits:\n  request_head: ^64QiB\n", "64QiB"),
    ("size below its range", START + END + "limits:\n  request_head: ^1B\n", "1B"),
    ("connections as text", START + END + "limits:\n  connections: ^lots\n", "lots"),
    (
        "route to an upstream that is not there",
        START + END + "routes:\n  - match: {path: /}\n    upstream: ^wob\n",
        "web",
    ),
    (
        "route of a listener that is not there",
        START + END + "routes:\n  - match: {listener: ^egde}\n    upstream: web\n",
        "edge",
    ),
    ("upstream server with port 0", START + END.replace('"127.0.0.1:9"', '^"127.0.0.1:0"'), "port"),
    (
        "weight out of range",
        START + "upstreams:\n  web:\n    servers: [{address: 127.0.0.1:9, weight: ^257}]\n",
        "256",
    ),
    ("balance that is no choice", START + END + "    balance: ^fastest\n", "round_robin"),
    ("retries out of range", START + END + "    retries: {attempts: ^11}\n", "10"),
    ("duplicate key", START + END + "workers: 1\n^workers: 2\n", "workers"),
    (
        "durability that is no choice",
        START + END + "audit: {directory: /tmp/x, durability: ^sometimes}\n",
        "before_response",
    ),
    (
        "when_full that is no choice",
        START + END + "audit: {directory: /tmp/x, when_full: ^panic}\n",
        "reject",
    ),
    (
        "segment too small",
        START + END + "audit: {directory: /tmp/x, segment: {size: ^1KiB}}\n",
        "1MiB",
    ),
    (
        "TLS version that is too old",
        START
        + '    tls:\n      minimum_version: ^"1.1"\n'
        + "      certificates: [{certificate: CERTIFICATE, key: KEY}]\n"
        + END,
        "1.2",
    ),
    (
        "certificate that is not there",
        START
        + "    tls:\n      certificates: [{certificate: ^/absent/site.pem, key: KEY}]\n"
        + END,
        "/absent/site.pem",
    ),
    (
        "key that is not there",
        START
        + "    tls:\n      certificates: [{certificate: CERTIFICATE, key: ^/absent/site.key}]\n"
        + END,
        "/absent/site.key",
    ),
    (
        "key that is a certificate",
        START
        + "    tls:\n      certificates: [{certificate: CERTIFICATE, key: ^CERTIFICATE}]\n"
        + END,
        "key",
    ),
    (
        "key of another certificate",
        START
        + "    tls:\n      certificates: [{certificate: CERTIFICATE, key: ^OTHERKEY}]\n"
        + END,
        "does not belong",
    ),
    (
        "environment variable that is not set",
        START + END + 'drain: {deadline: "^${MILLRACE_ABSENT}"}\n',
        "MILLRACE_ABSENT",
    ),
    (
        "authorities that are not there",
        START + END + "    tls: {ca: ^/absent/ca.pem}\n",
        "upstreams.web.tls.ca",
    ),
    (
        "authorities that are a key",
        START + END + "    tls: {ca: ^KEY}\n",
        "no certificate",
    ),
    (
        "client certificate of another key",
        START + END + "    tls: {certificate: CERTIFICATE, key: ^OTHERKEY}\n",
        "key",
    ),
    (
        "client certificate without its key",
        START + END + "    tls: ^{certificate: CERTIFICATE}\n",
        "tls.key",
    ),
    (
        "TLS to a Unix socket without a name",
        START + "upstreams:\n  web:\n    servers: [^unix:/run/web.sock]\n    tls: {}\n",
        "server_name",
    ),
    (
        "what this version has not",
        START + END + "limits: {^requests_per_second: 5}\n",
        "not available",
    ),
    ("an alias", START + END + "drain: ^*anchor\n", "anchor"),
    ("YAML that does not close", START + END + "limits: {connections: 5\n", None),
    ("a tab as indentation", START + END + "limits:\n\tconnections: 5\n", None),
]


def prepared(text, engine, port):
    """(the file's text, line and column of the mark, or None)."""
    pair, other = certificates.site(), certificates.authority().issue("other.test")
    for word, value in (
        ("OTHERKEY", other[1]),
        ("CERTIFICATE", pair[0]),
        ("KEY", pair[1]),
        ("ENGINE", engine),
        ("PORT", port),
    ):
        text = text.replace(word, str(value))
    position = text.find("^")
    if position < 0:
        return text, None
    line = text.count("\n", 0, position) + 1
    column = position - (text.rfind("\n", 0, position) + 1) + 1
    return text.replace("^", "", 1), (line, column)


class ErrorsCase(SystemCase):
    def refused(self, command, text):
        """stderr's lines of a run that must fail with exit code 2 and listen nowhere."""
        file = self.folder / "wrong.yaml"
        file.write_text(text, encoding="utf-8")
        code, out, errors = proxy.run_to_end(
            [command, file], directory=self.folder, wrapper=settings.WRAPPER
        )
        self.assertEqual(code, 2, errors or out)
        self.assertFalse(proxy.is_listening(self.port), "it listens")
        self.assertNotIn("listening", errors)
        return errors.splitlines()

    def setUp(self):
        super().setUp()
        self.port = ports.free_port()


@on_both_engines
class Errors(ErrorsCase):
    """One problem per row."""

    def check_row(self, text, word):
        text, place = prepared(text, self.engine or "auto", self.port)
        said = self.refused("check", text)
        self.assertEqual(said, self.refused("run", text), "check and run say different things")
        found = [re.search(r"\((\S*wrong\.yaml):(\d+):(\d+)\): (.+)", line) for line in said]
        places = [(int(match[2]), int(match[3])) for match in found if match]
        self.assertTrue(places, f"no problem with a place in {said}")
        if place:
            self.assertIn(place, places, said)
            line = said[[bool(match) for match in found].index(True)]
            self.assertIn(";", line, "what is wrong, and then what to do")
        if word:
            self.assertIn(word, "\n".join(said))


for _name, _cases in list(globals().items()):
    if _name.startswith("Errors_"):
        add_table(_cases, ROWS, "points_at")


@on_both_engines
class Several(ErrorsCase):
    def test_all_problems_of_a_file_in_one_run_and_in_order(self):
        text = (
            "engine: kqueue\n"
            "wrokers: 2\n"
            "listeners:\n"
            f"  - address: 127.0.0.1:{self.port}\n"
            "    timeouts: {head: soon}\n"
            "upstreams:\n"
            '  web: {servers: ["127.0.0.1:9"], balance: best}\n'
            "limits: {connections: 0}\n"
        )
        said = self.refused("run", text)
        lines = [
            int(match[1]) for line in said if (match := re.search(r"wrong\.yaml:(\d+):\d+\)", line))
        ]
        self.assertEqual(lines, sorted(lines))
        self.assertLessEqual({1, 2, 5, 7, 8}, set(lines), said)

    def test_an_empty_file(self):
        self.assertTrue(self.refused("run", ""))

    def test_a_good_file_with_the_same_shape_runs(self):
        origin = self.start_origin()
        text, _ = prepared(START + END + ROUTES, self.engine or "auto", self.port)
        started = self.start_proxy(text.replace("127.0.0.1:9", f"127.0.0.1:{origin.port}"))
        started.port = self.port
        self.assertEqual(self.fetch(started).status, 200)

    def test_environment_variables_fill_in_values(self):
        origin = self.start_origin()
        text, _ = prepared(START + END + ROUTES, self.engine or "auto", self.port)
        text = text.replace("127.0.0.1:9", "${ORIGIN_HOST:-127.0.0.1}:${ORIGIN_PORT}")
        started = self.start_proxy(text, environment={"ORIGIN_PORT": str(origin.port)})
        started.port = self.port
        self.assertEqual(self.fetch(started).status, 200)


if __name__ == "__main__":
    unittest.main()
